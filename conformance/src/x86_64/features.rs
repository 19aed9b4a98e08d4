//! Which features the processor of the test machine has, and which ones ours must have.

use iced_x86::{Code, CpuidFeature};

/// A bit of what CPUID says.
struct Bit {
    leaf: u32,
    register: Register,
    bit: u32,
}

#[derive(Clone, Copy)]
enum Register {
    Ebx,
    Ecx,
    Edx,
    /// EAX of leaf 0xd, subleaf 1.
    Eax1,
}

const fn bit(leaf: u32, register: Register, bit: u32) -> Option<Bit> {
    Some(Bit { leaf, register, bit })
}

/// Where CPUID tells of a feature (SDM 2A, CPUID); `None` for those that every 64-bit processor has.
fn bit_of(feature: CpuidFeature) -> Option<Bit> {
    use CpuidFeature as F;
    use Register::{Eax1, Ebx, Ecx, Edx};
    match feature {
        F::SSE3 => bit(1, Ecx, 0),
        F::PCLMULQDQ => bit(1, Ecx, 1),
        F::MONITOR => bit(1, Ecx, 3),
        F::SSSE3 => bit(1, Ecx, 9),
        F::FMA => bit(1, Ecx, 12),
        F::CMPXCHG16B => bit(1, Ecx, 13),
        F::SSE4_1 => bit(1, Ecx, 19),
        F::SSE4_2 => bit(1, Ecx, 20),
        F::MOVBE => bit(1, Ecx, 22),
        F::POPCNT => bit(1, Ecx, 23),
        F::AES => bit(1, Ecx, 25),
        F::XSAVE => bit(1, Ecx, 26),
        F::AVX => bit(1, Ecx, 28),
        F::F16C => bit(1, Ecx, 29),
        F::RDRAND => bit(1, Ecx, 30),
        F::FSGSBASE => bit(7, Ebx, 0),
        F::BMI1 => bit(7, Ebx, 3),
        F::AVX2 => bit(7, Ebx, 5),
        F::BMI2 => bit(7, Ebx, 8),
        F::INVPCID => bit(7, Ebx, 10),
        F::RDSEED => bit(7, Ebx, 18),
        F::ADX => bit(7, Ebx, 19),
        F::SMAP => bit(7, Ebx, 20),
        F::CLFLUSHOPT => bit(7, Ebx, 23),
        F::CLWB => bit(7, Ebx, 24),
        F::SHA => bit(7, Ebx, 29),
        F::GFNI => bit(7, Ecx, 8),
        F::RDPID => bit(7, Ecx, 22),
        F::XSAVEOPT => bit(0xd, Eax1, 0),
        F::XSAVEC => bit(0xd, Eax1, 1),
        F::XSAVES => bit(0xd, Eax1, 3),
        F::LZCNT => bit(0x8000_0001, Ecx, 5),
        F::SSE4A => bit(0x8000_0001, Ecx, 6),
        F::PREFETCHW => bit(0x8000_0001, Ecx, 8),
        F::XOP => bit(0x8000_0001, Ecx, 11),
        F::TBM => bit(0x8000_0001, Ecx, 21),
        F::D3NOW => bit(0x8000_0001, Edx, 31),
        F::RDTSCP => bit(0x8000_0001, Edx, 27),
        _ => None,
    }
}

/// Whether the processor of the test machine has what a form needs.
#[cfg(target_arch = "x86_64")]
pub fn host_has(code: Code) -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    code.cpuid_features().iter().all(|&feature| {
        let Some(Bit { leaf, register, bit }) = bit_of(feature) else { return true };
        let found = match register {
            Register::Ebx => __cpuid_count(leaf, 0).ebx,
            Register::Ecx => __cpuid_count(leaf, 0).ecx,
            Register::Edx => __cpuid(leaf).edx,
            Register::Eax1 => __cpuid_count(leaf, 1).eax,
        };
        found >> bit & 1 != 0
    })
}

/// Whether the guest's processor must have a form: x86-64-v2, and what else it promises.
pub fn is_demanded(code: Code) -> bool {
    use CpuidFeature as F;
    const DEMANDED: &[CpuidFeature] = &[
        F::INTEL8086,
        F::INTEL186,
        F::INTEL286,
        F::INTEL386,
        F::INTEL486,
        F::X64,
        F::CMOV,
        F::CX8,
        F::CPUID,
        F::FPU,
        F::FPU287,
        F::FPU387,
        F::FXSR,
        F::MMX,
        F::MSR,
        F::MULTIBYTENOP,
        F::PAUSE,
        F::SEP,
        F::SYSCALL,
        F::TSC,
        F::SSE,
        F::SSE2,
        F::CLFSH,
        F::SSE3,
        F::SSSE3,
        F::SSE4_1,
        F::SSE4_2,
        F::POPCNT,
        F::CMPXCHG16B,
        F::MOVBE,
        F::RDRAND,
        F::RDSEED,
        F::AES,
        F::PCLMULQDQ,
        F::SHA,
        F::XSAVE,
        F::XSAVEC,
        F::CLFLUSHOPT,
        F::PREFETCHW,
        F::RDTSCP,
        F::RDPMC,
        F::FSGSBASE,
        F::INVPCID,
        F::SMAP,
    ];
    let features = code.cpuid_features();
    !features.is_empty() && features.iter().all(|feature| DEMANDED.contains(feature))
}
