//! Control registers: CR0, CR2 to CR4, CR8, XCR0 and EFER, bit by bit (SDM 3A 2.5).

/// Protected mode.
pub const CR0_PE: u64 = 1 << 0;
/// FWAIT raises #NM, too, when TS is set.
pub const CR0_MP: u64 = 1 << 1;
/// No x87: its instructions raise #NM.
pub const CR0_EM: u64 = 1 << 2;
/// The floating-point state is of another task.
pub const CR0_TS: u64 = 1 << 3;
/// Extension type; always set.
pub const CR0_ET: u64 = 1 << 4;
/// x87 errors are exceptions.
pub const CR0_NE: u64 = 1 << 5;
/// Supervisor writes respect read-only pages.
pub const CR0_WP: u64 = 1 << 16;
/// Alignment checks are possible.
pub const CR0_AM: u64 = 1 << 18;
/// Paging.
pub const CR0_PG: u64 = 1 << 31;

/// RDTSC is privileged.
pub const CR4_TSD: u64 = 1 << 2;
/// Debug extensions: DR4 and DR5 do not exist.
pub const CR4_DE: u64 = 1 << 3;
/// 4 MiB pages without PAE.
pub const CR4_PSE: u64 = 1 << 4;
/// Physical address extension.
pub const CR4_PAE: u64 = 1 << 5;
/// Global pages.
pub const CR4_PGE: u64 = 1 << 7;
/// RDPMC is not privileged.
pub const CR4_PCE: u64 = 1 << 8;
/// SSE exists.
pub const CR4_OSFXSR: u64 = 1 << 9;
/// Unmasked SIMD exceptions raise #XM.
pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
/// SGDT, SIDT, SLDT, SMSW and STR are privileged.
pub const CR4_UMIP: u64 = 1 << 11;
/// RDFSBASE and its kin exist.
pub const CR4_FSGSBASE: u64 = 1 << 16;
/// Process-context identifiers.
pub const CR4_PCIDE: u64 = 1 << 17;
/// XSAVE and XCR0 exist.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// Supervisors may not execute user pages.
pub const CR4_SMEP: u64 = 1 << 20;
/// Supervisors may not access user pages unless RFLAGS.AC is set.
pub const CR4_SMAP: u64 = 1 << 21;

/// SYSCALL and SYSRET exist.
pub const EFER_SCE: u64 = 1 << 0;
/// Paging enters long mode.
pub const EFER_LME: u64 = 1 << 8;
/// Long mode is on.
pub const EFER_LMA: u64 = 1 << 10;
/// No-execute pages.
pub const EFER_NXE: u64 = 1 << 11;
