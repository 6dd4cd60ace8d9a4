//! Which instructions look up a burst: chosen once, when a table is opened.

/// A way to look up a burst; all give the same results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Plain loads, the next ones prefetched.
    Scalar,
    /// Eight addresses at a time by AVX2 gathers.
    Avx2,
    /// Sixteen addresses at a time by AVX-512 gathers (F, BW, DQ, VL).
    Avx512,
}

impl Path {
    /// All of them, slowest first.
    pub const ALL: [Path; 3] = [Path::Scalar, Path::Avx2, Path::Avx512];

    /// The fastest this machine has.
    pub fn best() -> Path {
        let mut paths = Self::ALL.into_iter().rev();
        paths
            .find(|path| path.is_available())
            .unwrap_or(Path::Scalar)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Path::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Its name, as benchmarks print it.
    pub fn name(self) -> &'static str {
        match self {
            Path::Scalar => "scalar",
            Path::Avx2 => "avx2",
            Path::Avx512 => "avx512",
        }
    }
}
