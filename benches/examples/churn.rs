//! A guest that writes code, runs it hot, and writes other code in its place, for as long as one wants: what a JavaScript
//! engine or LuaJIT does in hours, in minutes. Every function that is called gives the result it was written for, or the run
//! ends. What the process keeps is printed as it goes; it has to level off.
//!
//!     cargo run --release -p c2w-benches --example churn -- --minutes 10

use anyhow::{Context, Result, bail};
use c2w_conformance::riscv64::machine;
use c2w_decoders::riscv64::asm::assemble;
use c2w_decoders::riscv64::board::RAM_BASE;
use c2w_engine::addr::Gva;
use c2w_engine::jit::THRESHOLD;
use clap::Parser;
use std::time::{Duration, Instant};

/// Writes and runs code for a while.
#[derive(Parser)]
struct Args {
    /// How long.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Memory for translated code, in MiB.
    #[arg(long, default_value_t = 256)]
    jit_memory: u64,
    /// Memory of the guest's code, in MiB.
    #[arg(long, default_value_t = 24)]
    heap: u64,
    /// Seconds between two lines.
    #[arg(long, default_value_t = 30.0)]
    every: f64,
}

/// Bytes of a function.
const FUNCTION_BYTES: u64 = 256;
const RAM_BYTES: u64 = 256 << 20;
const HEAP: u64 = RAM_BASE.0 + (1 << 20);
/// What each function has to give, eight bytes each.
const RESULTS: u64 = RAM_BASE.0 + (128 << 20);

/// Writes a function of 55 additions of random numbers in eight blocks, with the sum as its result; calls it `s6` times;
/// then calls an older one, at random. `s0`: start of functions, `s1`: their count, `s2`: number of the next one, `s3`: random,
/// `s4`: results, `s5`: how many have been written, `s7`: `addi a0, a0, 0`, `s8`: `beq zero, zero, 4`, `s9`: `ret`.
const PROGRAM: &str = "
    next:   slli s10, s2, 8
            add s10, s10, s0
            addi t0, s10, 0
            addi t1, s10, 252
            addi t4, zero, 0
    write:  andi t2, t0, 28
            addi t3, zero, 28
            beq t2, t3, branch
            slli t2, s3, 13
            xor s3, s3, t2
            srli t2, s3, 7
            xor s3, s3, t2
            slli t2, s3, 17
            xor s3, s3, t2
            andi t2, s3, 1023
            add t4, t4, t2
            slli t2, t2, 20
            or t2, t2, s7
            sw t2, 0(t0)
            jal zero, wrote
    branch: sw s8, 0(t0)
    wrote:  addi t0, t0, 4
            bne t0, t1, write
            sw s9, 0(t0)
            fence.i
            slli t2, s2, 3
            add t2, t2, s4
            sd t4, 0(t2)
            addi s11, s6, 0
    call:   addi a0, zero, 0
            jalr ra, 0(s10)
            bne a0, t4, wrong
            addi s11, s11, -1
            bne s11, zero, call
            addi s5, s5, 1
            addi s2, s2, 1
            bne s2, s1, older
            addi s2, zero, 0
    older:  remu t2, s3, s1
            bgeu t2, s5, next
            slli s10, t2, 8
            add s10, s10, s0
            slli t2, t2, 3
            add t2, t2, s4
            ld t4, 0(t2)
            addi a0, zero, 0
            jalr ra, 0(s10)
            beq a0, t4, next
    wrong:  jal zero, wrong
";
const WRONG: u64 = 4;

fn main() -> Result<()> {
    let args = Args::parse();
    let program = assemble(PROGRAM)?;
    let mut machine = machine(RAM_BYTES);
    let functions = (args.heap << 20) / FUNCTION_BYTES;
    let wrong = RAM_BASE.0 + program.len() as u64 - WRONG;
    machine.cpu.ram.write(RAM_BASE, &program)?;
    let registers = [
        (8, HEAP),
        (9, functions),
        (19, 0x9e37_79b9_7f4a_7c15),
        (20, RESULTS),
        (22, 200),
        (23, 0x0005_0513),
        (24, 0x0000_0263),
        (25, 0x0000_8067),
    ];
    for (register, value) in registers {
        machine.cpu.slots[register] = value;
    }
    if !machine.translate_in(args.jit_memory << 20, THRESHOLD) {
        bail!("this host does not run generated code");
    }
    println!("  time s  functions  kept MiB  generations  decoded kept  resident MiB");
    let (began, mut shown) = (Instant::now(), 0.0);
    loop {
        machine.run(10_000_000);
        if machine.cpu.pc == Gva(wrong) {
            bail!("function {} gave a wrong result: {:#x}", machine.cpu.slots[18], machine.cpu.slots[10]);
        }
        let time = began.elapsed();
        let is_over = time >= Duration::from_secs_f64(args.minutes * 60.0);
        if time.as_secs_f64() >= shown || is_over {
            shown += args.every;
            let translator = machine.translator_statistics().context("it translates")?;
            println!(
                "{:8.0} {:10} {:9} {:12} {:13} {:13}",
                time.as_secs_f64(),
                machine.cpu.slots[21],
                translator.kept_bytes >> 20,
                translator.dropped_generations,
                machine.statistics().decoded_kept,
                resident_bytes()? >> 20,
            );
        }
        if is_over {
            return Ok(());
        }
    }
}

/// Memory of this process that is resident, the guest's RAM included.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}
