//! Floating point in code that compilers make: exact to the last flag, and in line where it is ordinary.

use c2w_conformance::floats::{Bench, FloatGuest, Step};
use c2w_conformance::{riscv64, x86_64};
use c2w_decoders::riscv64::guest::Riscv64;
use c2w_decoders::x86_64::guest::X86_64;
use c2w_engine::emit::VectorOp;
use c2w_engine::host::regions::RegionHost;
use c2w_engine::host::{cranelift, wasmtime};
use c2w_engine::jit::CODE_BYTES;

const RAM_BYTES: u64 = 1 << 20;

fn x86_64_wasm() -> Bench<X86_64, wasmtime::Host<X86_64>> {
    let space = wasmtime::Space::new(RAM_BYTES).expect("there is memory");
    let cpu = x86_64::user_vcpu(Some(space.backing()), RAM_BYTES);
    Bench::new(cpu, wasmtime::Host::new(&space).expect("wasmtime starts"))
}

fn x86_64_cranelift() -> Bench<X86_64, cranelift::Host<X86_64>> {
    let host = cranelift::Host::new(CODE_BYTES).expect("Cranelift knows this processor");
    Bench::new(x86_64::user_vcpu(None, RAM_BYTES), host)
}

fn riscv64_wasm() -> Bench<Riscv64, wasmtime::Host<Riscv64>> {
    let (cpu, host, _) = riscv64::wasm_host(RAM_BYTES);
    Bench::new(cpu, host)
}

fn riscv64_cranelift() -> Bench<Riscv64, cranelift::Host<Riscv64>> {
    let host = cranelift::Host::new(CODE_BYTES).expect("Cranelift knows this processor");
    Bench::new(riscv64::machine(RAM_BYTES).cpu, host)
}

macro_rules! on_all {
    ($($module:ident: $bench:ident;)*) => {$(
        mod $module {
            #[test]
            fn operations_are_exact() {
                super::$bench().every_operation();
            }

            #[test]
            fn chains_are_exact() {
                super::$bench().chains(1500);
            }

            #[test]
            fn loops_are_exact() {
                super::$bench().loops(1000);
            }

            #[test]
            fn ordinary_numbers_stay_in_line() {
                super::in_line(super::$bench());
            }
        }
    )*};
}
on_all! {
    x86_64_on_wasm: x86_64_wasm;
    x86_64_on_cranelift: x86_64_cranelift;
    riscv64_on_wasm: riscv64_wasm;
    riscv64_on_cranelift: riscv64_cranelift;
}

/// Arithmetic of ordinary numbers, some of them zero, calls out for nothing once inexact was raised; before that it does for
/// everything.
fn in_line<G: FloatGuest, H: RegionHost<G>>(mut bench: Bench<G, H>) {
    use VectorOp as V;
    let ops: &[V] = if G::ALONE {
        &[V::FaddD, V::FmulD, V::FsubD, V::FdivD, V::FsqrtD, V::FminD, V::FcvtSD]
    } else {
        &[V::Addsd, V::Mulpd, V::Subpd, V::Divsd, V::Sqrtpd, V::Minsd, V::Cvtsd2ss, V::Addpd, V::Mulsd]
    };
    let steps: Vec<Step> = ops.iter().map(|&op| Step::Vector(op, 0, [3, 0, 1])).collect();
    let high = |number: f64| if G::ALONE { 0 } else { number.to_bits() };
    let register = |number: f64| [number.to_bits(), high(number)];
    let numbers = [register(0.0), register(1.5), [0; 2], [0; 2]];
    let before = bench.call_outs();
    bench.check(&steps, std::iter::repeat_n((0, numbers, 0), 10));
    assert_eq!(bench.call_outs(), before, "in a plain environment");
    bench.check(&steps, (0..20).map(|environment| (environment, numbers, 0)));
    assert!(bench.call_outs() > before, "in environments that are not plain");
}
