//! The forms that are not compared instruction by instruction, why, and what covers them instead.

use iced_x86::{Code, Mnemonic};

/// Why forms are not compared with the processor in user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The reason.
    pub why: &'static str,
    /// The test that covers them.
    pub covered_by: &'static str,
}

const ENTERS_SYSTEM: Reason = Reason {
    why: "enters the system that the tests run on",
    covered_by: "x86_64_kvm and decoders/src/x86_64",
};
const PROCESSOR: Reason =
    Reason { why: "the result depends on the processor or on time", covered_by: "x86_64_special" };
const TABLES: Reason = Reason {
    why: "reads descriptor tables of the system that the tests run on",
    covered_by: "x86_64_kvm and decoders/src/x86_64",
};
const EMULATED: Reason = Reason {
    why: "the system that the tests run on emulates it under UMIP",
    covered_by: "x86_64_kvm and decoders/src/x86_64",
};

/// The reason why a form is not compared, if it is not.
pub fn reason(code: Code) -> Option<Reason> {
    use Mnemonic as M;
    match code.mnemonic() {
        M::Syscall | M::Sysenter | M::Int | M::Int1 | M::Vmcall | M::Vmmcall => Some(ENTERS_SYSTEM),
        M::Cpuid | M::Rdtsc | M::Rdtscp | M::Rdrand | M::Rdseed | M::Rdpid | M::Xgetbv | M::Rdpmc => {
            Some(PROCESSOR)
        }
        M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw => Some(EMULATED),
        M::Lar | M::Lsl | M::Verr | M::Verw | M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss => Some(TABLES),
        M::Iret | M::Iretd | M::Iretq | M::Retf => Some(TABLES),
        _ if is_far(code) || loads_segment(code) => Some(TABLES),
        _ => None,
    }
}

fn is_far(code: Code) -> bool {
    matches!(
        code,
        Code::Call_ptr1616
            | Code::Call_ptr1632
            | Code::Jmp_ptr1616
            | Code::Jmp_ptr1632
            | Code::Call_m1616
            | Code::Call_m1632
            | Code::Call_m1664
            | Code::Jmp_m1616
            | Code::Jmp_m1632
            | Code::Jmp_m1664
    )
}

fn loads_segment(code: Code) -> bool {
    matches!(
        code,
        Code::Mov_Sreg_rm16
            | Code::Mov_Sreg_r32m16
            | Code::Mov_Sreg_r64m16
            | Code::Popw_DS
            | Code::Popw_ES
            | Code::Popw_SS
            | Code::Popw_FS
            | Code::Popw_GS
            | Code::Popd_DS
            | Code::Popd_ES
            | Code::Popd_SS
            | Code::Popd_FS
            | Code::Popd_GS
            | Code::Popq_FS
            | Code::Popq_GS
    )
}
