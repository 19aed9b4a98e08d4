//! Runs one instruction on the processor of the test machine, from one complete user-mode state to the next.
//!
//! UD2 enters a signal handler, which replaces the interrupted state by the one to test in, so that the return from the
//! signal loads all registers at once. Behind the instruction and wherever it may jump there is INT3, and whatever stops
//! it enters the handler again, which keeps that state and continues behind the UD2. No register is needed for any of
//! this: signals run on a stack of their own.

use super::state::{Event, FXSAVE_BYTES, Outcome, State, has_error_code};
use super::window::{self, LEN_BYTES, PAGES, Rights};
use std::arch::{asm, naked_asm};
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::sync::{Mutex, MutexGuard};

const SIGNALS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP];
const STACK_BYTES: usize = 1 << 16;
/// Bytes of UD2.
const UD2_BYTES: i64 = 2;
/// Where in an extended state image the bit map of its valid components is (SDM 1 13.4.2).
const XSTATE_BV: usize = 512;
/// x87 and SSE.
const LEGACY_COMPONENTS: u64 = 3;
/// Number of `greg_t`s in a signal frame.
const GREGS: usize = 23;
/// The general registers in a signal frame, by their number in encodings.
const GPR: [c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];
/// Selectors that Linux gives its 64-bit and 32-bit user code.
const USER_CS_64: i64 = 0x33;
const USER_CS_32: i64 = 0x23;
/// Selector of its user data.
const USER_DS: u16 = 0x2b;
/// `AT_HWCAP2`: user code may use WRFSBASE and its kin.
const HWCAP2_FSGSBASE: u64 = 2;

/// What the signal handler is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing: the signal is not ours.
    Idle,
    /// Load the state.
    Enter,
    /// Keep the state.
    Leave,
}

/// What the program and the signal handler tell each other.
struct Exchange {
    phase: Phase,
    stack: u64,
    has_bases: bool,
    code_32: bool,
    host: [i64; GREGS],
    host_fs: u64,
    host_gs: u64,
    gpr: [u64; 16],
    rip: u64,
    rflags: u64,
    fs_base: u64,
    gs_base: u64,
    fxsave: [u8; FXSAVE_BYTES],
    vector: i64,
    error: i64,
    address: i64,
}

struct Shared(UnsafeCell<Exchange>);

// SAFETY: used by the thread that holds `OWNER` only; the handler runs on that thread, while it waits in `enter`.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared(UnsafeCell::new(Exchange {
    phase: Phase::Idle,
    stack: 0,
    has_bases: false,
    code_32: false,
    host: [0; GREGS],
    host_fs: 0,
    host_gs: 0,
    gpr: [0; 16],
    rip: 0,
    rflags: 0,
    fs_base: 0,
    gs_base: 0,
    fxsave: [0; FXSAVE_BYTES],
    vector: 0,
    error: 0,
    address: 0,
}));
/// Signal handlers and the window's addresses belong to the process: one thread at a time uses them.
static OWNER: Mutex<()> = Mutex::new(());

/// The window on the processor, and the signal handlers.
pub struct Native {
    /// The same memory as the window's, where all of it can be written.
    alias: *mut u8,
    old_actions: Vec<libc::sigaction>,
    old_stack: libc::stack_t,
    stack: Vec<u8>,
    _owner: MutexGuard<'static, ()>,
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Native {
    /// Maps the window, for one thread at a time.
    ///
    /// # Errors
    /// The system does not map memory at these addresses, or gives no executable memory.
    pub fn new() -> io::Result<Self> {
        let owner = OWNER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let alias = map_window()?;
        let mut stack = vec![0; STACK_BYTES];
        // SAFETY: plain structures that the calls below fill in.
        let (mut old_stack, mut old_actions) = (unsafe { std::mem::zeroed() }, Vec::new());
        let new_stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_BYTES };
        // SAFETY: the stack lives as long as `self`, whose drop gives the thread its old one back.
        check(unsafe { libc::sigaltstack(&new_stack, &mut old_stack) })?;
        // SAFETY: `OWNER` is held, and the phase is idle: no handler uses it.
        let exchange = unsafe { &mut *SHARED.0.get() };
        exchange.stack = stack.as_ptr() as u64;
        // SAFETY: asks for a number.
        exchange.has_bases = unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE != 0;
        for signal in SIGNALS {
            // SAFETY: all zero is a valid, empty action.
            let (mut action, mut old): (libc::sigaction, libc::sigaction) =
                unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
            action.sa_sigaction = on_signal as extern "C" fn() as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // SAFETY: the handler keeps to what a handler may do; the old one is put back by drop.
            check(unsafe { libc::sigaction(signal, &action, &mut old) })?;
            old_actions.push(old);
        }
        let mut native = Self { alias, old_actions, old_stack, stack, _owner: owner };
        let code = (window::CODE_PAGES.start * window::PAGE) as usize;
        native.bytes()[code..(window::CODE_PAGES.end * window::PAGE) as usize].fill(0xcc);
        Ok(native)
    }

    /// Whether the bases of FS and GS can be chosen.
    pub fn has_segment_bases(&self) -> bool {
        // SAFETY: `OWNER` is held and no handler runs.
        unsafe { (*SHARED.0.get()).has_bases }
    }

    /// The bytes of the window, of its pages without rights, too.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped with that length, and owned by `self`; instructions run only inside of `run`.
        unsafe { std::slice::from_raw_parts_mut(self.alias, LEN_BYTES as usize) }
    }

    /// Runs the instruction of this length at `state.rip`, in 64-bit or 32-bit code.
    ///
    /// # Safety
    /// The instruction must not be one that enters the system (SYSCALL, INT) or that runs forever, and what it can
    /// access outside of the window must not be memory of this process.
    pub unsafe fn run(&mut self, state: &State, len_bytes: usize, code_32: bool) -> Outcome {
        // SAFETY: `OWNER` is held and no handler runs.
        let exchange = unsafe { &mut *SHARED.0.get() };
        exchange.gpr = state.gpr;
        exchange.rip = state.rip;
        exchange.rflags = state.rflags;
        exchange.fs_base = state.fs_base;
        exchange.gs_base = state.gs_base;
        exchange.fxsave = state.fxsave();
        exchange.code_32 = code_32;
        exchange.phase = Phase::Enter;
        // SAFETY: the handler runs the instruction and comes back here with all general registers as they were, and with
        // the control words that the ABI asks for.
        unsafe { asm!("ud2", clobber_abi("sysv64")) };
        // SAFETY: as above; the handler is done. Volatile, because nothing here tells the compiler of its writes.
        let exchange = unsafe { ptr::read_volatile(SHARED.0.get()) };
        let mut after = state.clone();
        after.gpr = exchange.gpr;
        after.rip = exchange.rip;
        after.rflags = exchange.rflags;
        after.fs_base = exchange.fs_base;
        after.gs_base = exchange.gs_base;
        after.set_fxsave(&exchange.fxsave);
        let vector = exchange.vector as u8;
        let before_int3 = after.rip.wrapping_sub(1);
        // An INT3 within the instruction is the instruction.
        let behind = before_int3.wrapping_sub(state.rip) >= len_bytes as u64;
        let event = if vector == 3 && behind {
            after.rip = before_int3;
            Event::Done
        } else {
            Event::Exception {
                vector,
                error: has_error_code(vector).then_some(exchange.error as u16),
                address: (vector == 14).then_some(exchange.address as u64),
            }
        };
        Outcome { event, state: after }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        for (signal, action) in SIGNALS.into_iter().zip(&self.old_actions) {
            // SAFETY: the actions that were found by `new`.
            unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
        }
        // SAFETY: the stack that was found by `new`; ours is not in use outside of `run`, and mapped memory is that of
        // `map_window`, to which nothing refers any more.
        unsafe {
            libc::sigaltstack(&self.old_stack, ptr::null_mut());
            libc::munmap(self.alias.cast(), LEN_BYTES as usize);
            libc::munmap(window::BASE as *mut c_void, LEN_BYTES as usize);
        }
        self.stack.clear();
    }
}

/// Maps the window at its addresses with the rights of its pages, and once more with all rights.
fn map_window() -> io::Result<*mut u8> {
    let len_bytes = LEN_BYTES as usize;
    // SAFETY: new mappings at addresses where there was nothing, of a new file.
    unsafe {
        let file = libc::memfd_create(c"window".as_ptr(), libc::MFD_CLOEXEC);
        check(file)?;
        check(libc::ftruncate(file, len_bytes as i64))?;
        let map = |at: u64, pages: u64, rights, flags, offset| {
            let flags = flags | libc::MAP_SHARED | libc::MAP_POPULATE;
            let len = (pages * window::PAGE) as usize;
            let at = libc::mmap(at as *mut c_void, len, rights, flags, file, offset);
            if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast::<u8>()) }
        };
        let all = PAGES.len() as u64;
        let alias = map(0, all, libc::PROT_READ | libc::PROT_WRITE, 0, 0)?;
        map(window::BASE, all, libc::PROT_NONE, libc::MAP_FIXED_NOREPLACE, 0)?;
        for (index, rights) in (0..).zip(PAGES) {
            let rights = match rights {
                Rights::None => continue,
                Rights::Read => libc::PROT_READ,
                Rights::Write => libc::PROT_READ | libc::PROT_WRITE,
                Rights::Execute => libc::PROT_READ | libc::PROT_EXEC,
            };
            map(window::page(index), 1, rights, libc::MAP_FIXED, (index * window::PAGE) as i64)?;
        }
        libc::close(file);
        // Errors only make page faults differ that the processor reports for pages that the system took away.
        libc::mlock(window::BASE as *const c_void, len_bytes);
        Ok(alias)
    }
}

/// AC, NT and ID in RFLAGS: alignment checks, which the handler's code does not expect, and two that the return from a
/// signal leaves as they are, so that one instruction's would be the next one's.
const CLEARED: i32 = 1 << 18 | 1 << 14 | 1 << 21;

/// The entry of signals.
#[unsafe(naked)]
extern "C" fn on_signal() {
    naked_asm!(
        "pushfq",
        "and qword ptr [rsp], {kept}",
        "popfq",
        "jmp {handle}",
        kept = const !CLEARED,
        handle = sym handle,
    )
}

/// The signal handler. It runs without thread-local storage as long as the base of FS is the instruction's.
unsafe extern "C" fn handle(signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    let exchange = SHARED.0.get();
    // SAFETY: the exchange is used by one thread at a time, which is this one if we are on its signal stack; it is waiting
    // in `run`. The context is the frame that the system made for this signal, with an extended state image behind the
    // legacy one.
    unsafe {
        let here = &raw const signal as u64;
        let ours = here.wrapping_sub((*exchange).stack) < STACK_BYTES as u64;
        if !ours || (*exchange).phase == Phase::Idle {
            // Not ours: the same happens again without a handler.
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        let context = context.cast::<libc::ucontext_t>();
        let gregs = &mut (*context).uc_mcontext.gregs;
        let image = (*context).uc_mcontext.fpregs.cast::<u8>();
        if (*exchange).phase == Phase::Enter {
            (*exchange).phase = Phase::Leave;
            (*exchange).host = *gregs;
            for (number, place) in GPR.iter().enumerate() {
                gregs[*place as usize] = (*exchange).gpr[number] as i64;
            }
            gregs[libc::REG_RIP as usize] = (*exchange).rip as i64;
            gregs[libc::REG_EFL as usize] = (*exchange).rflags as i64;
            let code = if (*exchange).code_32 { USER_CS_32 } else { USER_CS_64 };
            gregs[libc::REG_CSGSFS as usize] = gregs[libc::REG_CSGSFS as usize] & !0xffff | code;
            ptr::copy_nonoverlapping((*exchange).fxsave.as_ptr(), image, XSTATE_BV - 48);
            image.add(XSTATE_BV).cast::<u64>().write_unaligned(LEGACY_COMPONENTS);
            // 64-bit code needs no data segments, 32-bit code does.
            let data = if (*exchange).code_32 { USER_DS } else { 0 };
            asm!("mov ds, {0:x}", "mov es, {0:x}", in(reg) data);
            if (*exchange).has_bases {
                asm!("rdfsbase {}", out(reg)(*exchange).host_fs);
                asm!("rdgsbase {}", out(reg)(*exchange).host_gs);
                asm!("wrgsbase {}", in(reg) (*exchange).gs_base);
                asm!("wrfsbase {}", in(reg) (*exchange).fs_base);
            }
        } else {
            (*exchange).phase = Phase::Idle;
            if (*exchange).has_bases {
                asm!("rdfsbase {}", out(reg)(*exchange).fs_base);
                asm!("rdgsbase {}", out(reg)(*exchange).gs_base);
                asm!("wrgsbase {}", in(reg) (*exchange).host_gs);
                asm!("wrfsbase {}", in(reg) (*exchange).host_fs);
            }
            for (number, place) in GPR.iter().enumerate() {
                (*exchange).gpr[number] = gregs[*place as usize] as u64;
            }
            (*exchange).rip = gregs[libc::REG_RIP as usize] as u64;
            (*exchange).rflags = gregs[libc::REG_EFL as usize] as u64;
            (*exchange).vector = gregs[libc::REG_TRAPNO as usize];
            (*exchange).error = gregs[libc::REG_ERR as usize];
            (*exchange).address = gregs[libc::REG_CR2 as usize];
            ptr::copy_nonoverlapping(image, (*exchange).fxsave.as_mut_ptr(), FXSAVE_BYTES);
            *gregs = (*exchange).host;
            gregs[libc::REG_RIP as usize] += UD2_BYTES;
            // What the ABI asks for: empty x87 registers, exceptions masked.
            image.cast::<[u16; 4]>().write_unaligned([0x37f, 0, 0, 0]);
            image.add(24).cast::<u32>().write_unaligned(0x1f80);
        }
    }
}
