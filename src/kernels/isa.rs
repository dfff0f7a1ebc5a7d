//! Instruction-set levels: which of them this processor has, and their names.
//!
//! A level is a bundle of features that the kernels of one folder rely on. It says nothing about speed beyond the order
//! of [`Isa::available`], and no environment variable changes it: a host that wants a weaker one asks for it by name.

/// A level of vector instructions, for each architecture weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust: the definition of every result, available everywhere.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL (and all of [`Isa::Avx2`]).
    Avx512,
    /// [`Isa::Avx512`] with the integer dot products of AVX-512 VNNI.
    Avx512Vnni,
    /// [`Isa::Avx512Vnni`] with AMX int8 tiles that the operating system grants.
    Amx,
    /// AArch64 with ASIMD, which all of them have.
    Neon,
    /// [`Isa::Neon`] with the integer dot products `sdot` and `udot`.
    Dotprod,
    /// [`Isa::Dotprod`] with the integer matrix products `smmla` and its kin.
    I8mm,
}

impl Isa {
    /// Every level of every architecture, weakest first.
    pub const ALL: [Self; 8] =
        [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Vnni, Self::Amx, Self::Neon, Self::Dotprod, Self::I8mm];

    /// The strongest level of this processor.
    pub fn detect() -> Self {
        Self::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }

    /// The levels of this processor, weakest first. [`Isa::Portable`] is always among them.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// Whether this processor and operating system have every feature of the level.
    ///
    /// Asking for [`Isa::Amx`] on Linux requests the tile state for the process, as the kernel demands before first use.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            _ => super::x86_64::is_available(self),
            #[cfg(target_arch = "aarch64")]
            _ => super::aarch64::is_available(self),
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            _ => false,
        }
    }

    /// The name in options and metrics: `portable`, `avx2`, `avx512`, `avx512vnni`, `amx`, `neon`, `dotprod`, `i8mm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::I8mm => "i8mm",
        }
    }

    /// The level of that name, whether or not this processor has it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_portable_is_always_there() {
        for isa in Isa::ALL {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::from_name("sse9"), None);
        assert_eq!(Isa::available()[0], Isa::Portable);
        assert!(Isa::available().contains(&Isa::detect()));
    }
}
