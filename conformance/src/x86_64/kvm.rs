//! System-level programs under the hypervisor of the system that tests run on.

use super::system::{CODE, End, Finished, Program, RAM_BYTES, Seen, see};
use c2w_decoders::x86_64::segment::{Attributes, SegmentRegister};
use kvm_bindings::{
    KVM_MAX_CPUID_ENTRIES, Msrs, kvm_debugregs, kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a program may run before the hypervisor is taken to have lost it: a hundred times what the slowest needs.
const PATIENCE: Duration = Duration::from_millis(500);

/// A virtual machine with one processor and memory from address 0.
pub struct Hypervisor {
    vcpu: VcpuFd,
    _vm: VmFd,
    memory: *mut u8,
    /// Number of the program that runs; 0 between programs, `u64::MAX` at the end.
    running: Arc<AtomicU64>,
    programs: u64,
}

/// Whether the system's hypervisor is one in software, which does not have all of the processor's checks: what it says is
/// printed, and counts for nothing.
pub fn is_software() -> bool {
    std::path::Path::new("/sys/module/kvm_pvm").exists()
}

extern "C" fn wake(_signal: libc::c_int) {}

/// Interrupts a thread in the hypervisor if a program does not end.
fn watch(thread: libc::pthread_t, running: &AtomicU64) {
    let mut seen = 0;
    loop {
        std::thread::sleep(PATIENCE);
        match running.load(Ordering::SeqCst) {
            u64::MAX => return,
            // SAFETY: the thread owns the hypervisor, and says so by `running` until it drops it.
            number if number == seen && number != 0 => unsafe {
                libc::pthread_kill(thread, libc::SIGUSR1);
            },
            number => seen = number,
        }
    }
}

/// Numbers of model-specific registers (SDM 4).
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const FMASK: u32 = 0xc000_0084;
const KERNEL_GS_BASE: u32 = 0xc000_0102;

impl Hypervisor {
    /// The hypervisor, if there is one that this user may use.
    ///
    /// # Errors
    /// There is none; the text says why.
    pub fn new() -> Result<Self, kvm_ioctls::Error> {
        let kvm = Kvm::new()?;
        let vm = kvm.create_vm()?;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), RAM_BYTES as usize, rights, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(kvm_ioctls::Error::last());
        }
        let region = kvm_userspace_memory_region {
            memory_size: RAM_BYTES,
            userspace_addr: memory as u64,
            ..Default::default()
        };
        // SAFETY: the mapping is that long, and stays until `self`, which owns the virtual machine, is dropped.
        unsafe { vm.set_user_memory_region(region)? };
        let vcpu = vm.create_vcpu(0)?;
        vcpu.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?;
        let running = Arc::new(AtomicU64::new(0));
        // SAFETY: all zero is a valid action; the handler does nothing. The thread is this one.
        let thread = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = wake as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
            libc::pthread_self()
        };
        let watched = Arc::clone(&running);
        std::thread::spawn(move || watch(thread, &watched));
        Ok(Self { vcpu, _vm: vm, memory: memory.cast(), running, programs: 0 })
    }

    fn ram(&mut self) -> &mut [u8] {
        // SAFETY: mapped with that length and owned by `self`; the processor does not run.
        unsafe { std::slice::from_raw_parts_mut(self.memory, RAM_BYTES as usize) }
    }

    /// Runs a program. `None` if the hypervisor cannot carry it out.
    ///
    /// # Errors
    /// The hypervisor refused the state.
    pub fn run(&mut self, program: &Program) -> Result<Option<Finished>, kvm_ioctls::Error> {
        self.ram().copy_from_slice(&program.ram());
        let g = &program.gpr;
        let state = &program.state;
        let mut special = self.vcpu.get_sregs()?;
        let bases = program.bases;
        let segment = |register: SegmentRegister| {
            let segment = state.segment(register);
            let (base, attributes) = (bases[register as usize], segment.attributes);
            to_kvm(segment.selector, base, segment.limit, attributes)
        };
        special.es = segment(SegmentRegister::Es);
        special.cs = segment(SegmentRegister::Cs);
        special.ss = segment(SegmentRegister::Ss);
        special.ds = segment(SegmentRegister::Ds);
        special.fs = segment(SegmentRegister::Fs);
        special.gs = segment(SegmentRegister::Gs);
        let system = |s: &c2w_decoders::x86_64::segment::SystemSegment| {
            to_kvm(s.selector, s.base, s.limit, s.attributes)
        };
        special.ldt = system(&state.ldtr);
        special.tr = system(&state.tr);
        special.gdt = kvm_dtable { base: state.gdtr.base, limit: state.gdtr.limit, ..Default::default() };
        special.idt = kvm_dtable { base: state.idtr.base, limit: state.idtr.limit, ..Default::default() };
        (special.cr0, special.cr2, special.cr3) = (state.cr0, state.cr2, state.cr3);
        (special.cr4, special.efer) = (state.cr4, state.efer);
        special.interrupt_bitmap = [0; 4];
        self.vcpu.set_sregs(&special)?;
        self.vcpu.set_regs(&kvm_regs {
            rax: g[0],
            rcx: g[1],
            rdx: g[2],
            rbx: g[3],
            rsp: g[4],
            rbp: g[5],
            rsi: g[6],
            rdi: g[7],
            r8: g[8],
            r9: g[9],
            r10: g[10],
            r11: g[11],
            r12: g[12],
            r13: g[13],
            r14: g[14],
            r15: g[15],
            rip: CODE,
            rflags: program.rflags,
        })?;
        self.vcpu.set_debug_regs(&kvm_debugregs {
            db: state.debug.address,
            dr6: state.debug.status,
            dr7: state.debug.control,
            ..Default::default()
        })?;
        self.vcpu.set_vcpu_events(&Default::default())?;
        let msrs = &state.msrs;
        let values = [
            (STAR, msrs.star),
            (LSTAR, msrs.lstar),
            (CSTAR, msrs.cstar),
            (FMASK, msrs.fmask),
            (KERNEL_GS_BASE, 0),
        ];
        let entries = values.map(|(index, data)| kvm_msr_entry { index, data, ..Default::default() });
        let entries = Msrs::from_entries(&entries).expect("a short list fits");
        self.vcpu.set_msrs(&entries)?;
        self.programs += 1;
        self.running.store(self.programs, Ordering::SeqCst);
        let exit = self.vcpu.run();
        self.running.store(0, Ordering::SeqCst);
        let end = match exit {
            Err(error) if error.errno() == libc::EINTR => return Ok(None),
            Err(error) => return Err(error),
            Ok(exit) => exit,
        };
        let end = match end {
            VcpuExit::Hlt => End::Halt,
            VcpuExit::Shutdown => End::Shutdown,
            VcpuExit::InternalError | VcpuExit::FailEntry(..) => return Ok(None),
            other => End::Other(format!("{other:?}")),
        };
        self.finished(end).map(Some)
    }

    fn finished(&mut self, end: End) -> Result<Finished, kvm_ioctls::Error> {
        let r = self.vcpu.get_regs()?;
        let s = self.vcpu.get_sregs()?;
        let segments = [s.es, s.cs, s.ss, s.ds, s.fs, s.gs, s.ldt, s.tr].map(from_kvm);
        Ok(Finished {
            end,
            gpr: [
                r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12,
                r.r13, r.r14, r.r15,
            ],
            rip: r.rip,
            rflags: r.rflags,
            control: [s.cr0, s.cr2, s.cr3, s.cr4, s.efer],
            segments,
            debug_status: self.vcpu.get_debug_regs()?.dr6,
            memory: self.ram().to_vec(),
        })
    }
}

impl Drop for Hypervisor {
    fn drop(&mut self) {
        self.running.store(u64::MAX, Ordering::SeqCst);
        // SAFETY: mapped in `new` with this length; the virtual machine does not run any more.
        unsafe { libc::munmap(self.memory.cast(), RAM_BYTES as usize) };
    }
}

fn to_kvm(selector: u16, base: u64, limit: u32, attributes: Attributes) -> kvm_segment {
    let bit = |n: u32| (attributes.0 >> n & 1) as u8;
    kvm_segment {
        base,
        limit,
        selector,
        type_: (attributes.0 & 15) as u8,
        present: bit(7),
        dpl: (attributes.0 >> 5 & 3) as u8,
        db: bit(14),
        s: bit(4),
        l: bit(13),
        g: bit(15),
        avl: bit(12),
        unusable: 1 - bit(7),
        ..Default::default()
    }
}

fn from_kvm(s: kvm_segment) -> Seen {
    let present = s.present & (1 - s.unusable);
    let bits =
        [(present, 7), (s.db, 14), (s.s, 4), (s.l, 13), (s.g, 15), (s.avl, 12), (s.dpl, 5), (s.type_, 0)];
    let attributes = bits.iter().fold(0, |sum, &(value, place)| sum | u16::from(value) << place);
    see(s.selector, s.base, s.limit, attributes)
}
