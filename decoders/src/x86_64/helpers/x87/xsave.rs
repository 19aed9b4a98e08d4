//! XSAVE, XSAVEOPT, XSAVEC and XRSTOR (SDM 1 chapter 13) of the components x87, SSE and AVX.

use super::area::{self, AREA, Form, MXCSR_INIT};
use super::memory::{check_write, put, u64_at, write_checked};
use super::unit::Unit;
use crate::x86_64::guest::X86_64;
use crate::x86_64::{control, mode, regs, trap};
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// x87 state.
const X87: u64 = 1 << 0;
/// Low halves of the vector registers, and MXCSR.
const SSE: u64 = 1 << 1;
/// High halves of the vector registers.
const AVX: u64 = 1 << 2;

/// Bytes of the header behind the legacy area.
const HEADER: usize = 64;
/// Offset in the header of the components that the format is compacted to.
const LAYOUT: usize = 8;
/// The header's sign of the compacted format.
const IS_COMPACTED: u64 = 1 << 63;
/// Offset of the AVX component. It is the first behind the header in both formats.
const AVX_AT: usize = AREA + HEADER;
/// Bytes of the AVX component.
const AVX_BYTES: usize = 256;
/// Bytes of all.
const MOST: usize = AVX_AT + AVX_BYTES;

/// What all of them check first, and the components that both the instruction and XCR0 name.
fn requested(cpu: &Cpu<X86_64>, at: u64, components: u64) -> Result<u64, Trap> {
    if cpu.guest.cr4 & control::CR4_OSXSAVE == 0 {
        return Err(trap::plain(trap::UNDEFINED));
    }
    if cpu.guest.cr0 & control::CR0_TS != 0 {
        return Err(trap::plain(trap::NO_FPU));
    }
    area::check_alignment(at, 64)?;
    Ok(components & cpu.guest.xcr0)
}

/// Whether slots `first` and `first + 1` of every vector register that there is are zero.
fn halves_are_zero(cpu: &Cpu<X86_64>, form: Form, first: usize) -> bool {
    (0..form.vectors()).all(|number| {
        let slot = usize::from(regs::vector(number).0) + first;
        cpu.slots[slot] == 0 && cpu.slots[slot + 1] == 0
    })
}

/// Components that are not in their initial state (SDM 1 13.6, XINUSE).
fn in_use(cpu: &mut Cpu<X86_64>, form: Form) -> u64 {
    let mut found = 0;
    if !Unit::of(cpu).is_reset() {
        found |= X87;
    }
    if !halves_are_zero(cpu, form, 0) {
        found |= SSE;
    }
    if !halves_are_zero(cpu, form, 2) {
        found |= AVX;
    }
    found
}

/// XSAVE, XSAVEOPT and XSAVEC.
pub(super) fn xsave(cpu: &mut Cpu<X86_64>, [at, components, form, _]: [u64; 4]) -> Result<u64, Trap> {
    let form = Form::from_bits_truncate(form);
    let requested = requested(cpu, at, components)?;
    let compacted = form.contains(Form::COMPACTED);
    let mut used = in_use(cpu, form);
    if compacted && cpu.slots[usize::from(regs::MXCSR.0)] != MXCSR_INIT {
        used |= SSE;
    }
    let used = used & requested;
    let written = if compacted || form.contains(Form::OPTIMIZED) { used } else { requested };

    let len_bytes = if written & AVX != 0 { MOST } else { AREA + HEADER };
    check_write(cpu, Gva(at), len_bytes as u64)?;
    let header = Gva(at).offset(AREA as u64);
    let present = if compacted {
        used
    } else {
        let mut old = [0; 8];
        cpu.read_bytes(header, &mut old)?;
        u64::from_le_bytes(old) & !requested | used
    };

    let mut image = [0; MOST];
    let save = |cpu: &mut Cpu<X86_64>, image: &[u8; MOST], from: usize, to: usize| {
        write_checked(cpu, Gva(at).offset(from as u64), &image[from..to])
    };
    if written & X87 != 0 {
        area::put_x87(&Unit::of(cpu), form, &mut image);
        save(cpu, &image, 0, area::MXCSR)?;
        save(cpu, &image, area::REGISTERS, area::VECTORS)?;
    }
    // In the standard format MXCSR belongs to AVX, too, and is written whether they are in use or not.
    let with_mxcsr = if compacted { written & SSE } else { requested & (SSE | AVX) };
    if with_mxcsr != 0 {
        area::put_mxcsr(cpu, &mut image);
        save(cpu, &image, area::MXCSR, area::REGISTERS)?;
    }
    if written & SSE != 0 {
        area::put_vectors(cpu, form, &mut image);
        save(cpu, &image, area::VECTORS, area::VECTORS + 16 * usize::from(form.vectors()))?;
    }
    put(&mut image, AREA, present.to_le_bytes());
    put(&mut image, AREA + LAYOUT, (requested | IS_COMPACTED).to_le_bytes());
    save(cpu, &image, AREA, AREA + if compacted { 16 } else { 8 })?;
    if written & AVX != 0 {
        put_high_halves(cpu, form, &mut image);
        save(cpu, &image, AVX_AT, AVX_AT + 16 * usize::from(form.vectors()))?;
    }
    Ok(0)
}

fn put_high_halves(cpu: &Cpu<X86_64>, form: Form, image: &mut [u8]) {
    for number in 0..form.vectors() {
        let slot = usize::from(regs::vector(number).0) + 2;
        let at = AVX_AT + 16 * usize::from(number);
        put(image, at, cpu.slots[slot].to_le_bytes());
        put(image, at + 8, cpu.slots[slot + 1].to_le_bytes());
    }
}

fn load_high_halves(cpu: &mut Cpu<X86_64>, form: Form, image: &[u8]) {
    for number in 0..form.vectors() {
        let slot = usize::from(regs::vector(number).0) + 2;
        let at = AVX_AT + 16 * usize::from(number);
        cpu.slots[slot] = u64_at(image, at);
        cpu.slots[slot + 1] = u64_at(image, at + 8);
    }
}

/// Checks a header; the components that are present, and whether the format is compacted (SDM 1 13.8).
fn parse_header(header: &[u8], allowed: u64) -> Result<(u64, bool), Trap> {
    let present = u64_at(header, 0);
    let layout = u64_at(header, LAYOUT);
    let compacted = layout & IS_COMPACTED != 0;
    let zero = |from: usize, to: usize| header[from..to].iter().all(|&byte| byte == 0);
    let good = if compacted {
        let layout = layout & !IS_COMPACTED;
        layout & !allowed == 0 && present & !layout == 0 && zero(16, HEADER)
    } else {
        present & !allowed == 0 && layout == 0 && zero(16, 24)
    };
    if good { Ok((present, compacted)) } else { Err(trap::protection(0)) }
}

/// XRSTOR.
pub(super) fn xrstor(cpu: &mut Cpu<X86_64>, [at, components, form, _]: [u64; 4]) -> Result<u64, Trap> {
    let form = Form::from_bits_truncate(form);
    let requested = requested(cpu, at, components)?;
    let mut image = [0; MOST];
    cpu.read_bytes(Gva(at), &mut image[..AREA + HEADER])?;
    let (present, compacted) = parse_header(&image[AREA..AREA + HEADER], cpu.guest.xcr0)?;
    let loaded = requested & present;
    if loaded & AVX != 0 {
        let from = Gva(at).offset(AVX_AT as u64);
        cpu.read_bytes(from, &mut image[AVX_AT..AVX_AT + 16 * usize::from(form.vectors())])?;
    }
    // In the standard format MXCSR is loaded even if the components that it belongs to are not present.
    let mxcsr = match compacted {
        false if requested & (SSE | AVX) != 0 => Some(area::mxcsr_in(&image)?),
        true if loaded & SSE != 0 => Some(area::mxcsr_in(&image)?),
        true if requested & SSE != 0 => Some(MXCSR_INIT),
        _ => None,
    };
    // Nothing traps from here on. What is requested and not present gets its initial state.
    if requested & X87 != 0 {
        let mut unit = Unit::of(cpu);
        if loaded & X87 != 0 { area::load_x87(&mut unit, form, &image) } else { unit.reset() }
    }
    let absent = requested & !present;
    if absent & SSE != 0 {
        image[area::VECTORS..AREA].fill(0);
    }
    if requested & SSE != 0 {
        area::load_vectors(cpu, form, &image);
    }
    if requested & AVX != 0 {
        // Not read above if not present, so still zero.
        load_high_halves(cpu, form, &image);
    }
    if let Some(mxcsr) = mxcsr {
        cpu.slots[usize::from(regs::MXCSR.0)] = mxcsr;
        mode::refresh(cpu);
    }
    Ok(0)
}
