//! Which instructions work on a burst: chosen once, when a table is opened. All ways give the same results.

/// A way to work on many values at once; the better ones are the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// Nothing of a certain processor.
    Scalar,
    /// 256 bits at a time: AVX2 and BMI1.
    Avx2,
    /// 512 bits at a time: AVX-512 F, BW, DQ and VL, BMI1 and POPCNT.
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
            Path::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1"),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("popcnt")
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
