//! Which instructions work on a burst: chosen once, when a table is opened or a program begins. All ways give
//! the same results. And the one instruction that asks for a cache line.

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

    /// Does `work` compiled for this path: loops over columns of numbers take as many at once as it can.
    ///
    /// # Panics
    /// When this machine does not have it.
    #[inline]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        match self {
            Path::Scalar => work(),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 | Path::Avx512 => {
                assert!(self.is_available(), "this machine has no {}", self.name());
                // SAFETY: it was just seen to be there.
                unsafe {
                    match self {
                        Path::Avx512 => with_avx512(work),
                        _ => with_avx2(work),
                    }
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("no other path is available"),
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

/// Asks for the cache line that `address` lies in.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults and changes nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn with_avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}
