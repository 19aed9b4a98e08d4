//! The recorded IR of blocks, as text.

use anyhow::{Context, anyhow};
use c2w_conformance::ir_text::run_directory;
use c2w_decoders::riscv64::guest::Riscv64;
use c2w_decoders::riscv64::regs::{self, FpState, Privilege};
use c2w_decoders::riscv64::{asm, names};
use c2w_decoders::x86_64;
use c2w_decoders::x86_64::guest::X86_64;
use c2w_decoders::x86_64::mode::ModeBits;
use c2w_engine::emit::Slot;
use c2w_engine::guest::{Guest, Mode};
use c2w_engine::ir::text::Text;
use c2w_engine::ir::verify::verify;
use std::path::Path;

/// Decodes all of `bytes` as one block and prints what is recorded of it.
fn print<G: Guest>(bytes: &[u8], mode: Mode, slot_name: fn(Slot) -> String) -> anyhow::Result<String> {
    let (mut insns, mut offsets, mut at) = (Vec::new(), Vec::new(), 0);
    while at < bytes.len() {
        let decoded = G::decode(&bytes[at..], mode).context("the last instruction is incomplete")?;
        insns.push(decoded.insn);
        offsets.push(at as u16);
        at += usize::from(decoded.len_bytes);
    }
    let block = G::record(&insns, &offsets, at as u16, &[]);
    verify(&block, G::HELPERS)?;
    Ok(Text { block: &block, helpers: G::HELPERS, slot_name }.to_string())
}

fn riscv64_slot(slot: Slot) -> String {
    match slot {
        regs::SINK => "sink".to_owned(),
        regs::FRM => "frm".to_owned(),
        regs::FLOAT_ENVIRONMENT => "float_environment".to_owned(),
        slot => names::register(slot).to_owned(),
    }
}

fn directory(guest: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/ir").join(guest)
}

#[test]
fn riscv64() {
    let mode = regs::mode(Privilege::Machine, FpState::Dirty, 0);
    let cases = run_directory(&directory("riscv64"), |code| {
        let bytes = asm::assemble(code).map_err(|error| anyhow!("{error}"))?;
        print::<Riscv64>(&bytes, mode, riscv64_slot)
    });
    assert!(cases.unwrap_or_else(|error| panic!("{error}")) > 0);
}

/// Bytes in hexadecimal; what follows `;` says which instruction they are.
fn bytes(code: &str) -> anyhow::Result<Vec<u8>> {
    let digits = code.lines().flat_map(|line| line.split(';').next().unwrap_or("").split_whitespace());
    Ok(digits.map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?)
}

#[test]
fn x86_64() {
    let cases = run_directory(&directory("x86_64"), |code| {
        let mode = ModeBits::SSE.bits()
            | if code.contains("where MXCSR lets") { ModeBits::FLOAT_TRAPS.bits() } else { 0 };
        print::<X86_64>(&bytes(code)?, Mode(mode), x86_64::regs::name)
    });
    assert!(cases.unwrap_or_else(|error| panic!("{error}")) > 0);
}
