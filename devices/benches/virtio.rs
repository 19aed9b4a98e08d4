//! Throughput of the virtio devices over memory: what the device layer itself costs, without a guest or a host file.

#![allow(missing_docs, reason = "criterion_group! makes a public function")]

#[allow(dead_code, reason = "tests use the rest")]
#[path = "../tests/support/raw.rs"]
mod raw;

use c2w_devices::backend::block::MemoryBlock;
use c2w_devices::backend::char::char_channel;
use c2w_devices::virtio::blk::Blk;
use c2w_devices::virtio::console::{Console, ConsoleSize, PortOptions};
use c2w_devices::virtio::feature;
use c2w_engine::irq::Attention;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use raw::{DATA, INDIRECT, NEXT, Raw, WRITE};

const STATUS_BYTE: u64 = DATA + 16;
const TABLE: u64 = DATA + 0x1000;
const BODY: u64 = DATA + 0x1_0000;

/// Writes an indirect table for a transfer of `segments` pieces and returns its length.
fn table(raw: &mut Raw, kind: u32, segments: u16, segment_bytes: u32) -> u32 {
    raw.put(DATA, &kind.to_le_bytes());
    raw.put(DATA + 4, &[0; 12]);
    raw.descriptor(TABLE, 0, DATA, 16, NEXT, 1);
    let direction = if kind == 0 { WRITE } else { 0 };
    for index in 0..segments {
        // Every other page, so that nothing is contiguous.
        let gpa = BODY + u64::from(index) * u64::from(segment_bytes) * 15 / 10 / 4096 * 4096;
        raw.descriptor(TABLE, index + 1, gpa, segment_bytes, NEXT | direction, index + 2);
    }
    raw.descriptor(TABLE, segments + 1, STATUS_BYTE, 1, WRITE, 0);
    (u32::from(segments) + 2) * 16
}

fn blk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("blk");
    for (name, kind, segments, segment_bytes) in [
        ("read 1 MiB in 256 segments", 0, 256, 4096),
        ("write 1 MiB in 256 segments", 1, 256, 4096),
        ("read 1 MiB in 1 segment", 0, 1, 1 << 20),
        ("read 4 KiB", 0, 1, 4096),
    ] {
        let disk = Blk::new(Box::new(MemoryBlock::new(vec![1; 2 << 20], false)), "bench");
        let mut raw = Raw::running(Box::new(disk), !feature::EVENT_INDEX);
        let table_bytes = table(&mut raw, kind, segments, segment_bytes);
        raw.descriptor(raw.rings[0].descriptors, 0, TABLE, table_bytes, INDIRECT, 0);
        group.throughput(Throughput::Bytes(u64::from(segments) * u64::from(segment_bytes)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                raw.make_available(0, 0);
                raw.notify(0);
                raw.take_used(0).expect("the device answers");
            });
        });
        assert_eq!(raw.get(STATUS_BYTE, 1), [0]);
    }
    group.finish();
}

fn console(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("console");
    let (backend, host) = char_channel(64 << 10, &Attention::default());
    let port = PortOptions { name: String::new(), is_console: true, backend: Box::new(backend) };
    let mut raw = Raw::running(Box::new(Console::new(vec![port], ConsoleSize::default())), !(1 << 1));
    let mut bytes = vec![0; 64 << 10];
    group.throughput(Throughput::Bytes(32 << 10));
    group.bench_function("output in chains of 32 KiB", |bencher| {
        bencher.iter(|| {
            raw.request(1, &[(BODY, 32 << 10)], &[]).expect("there is room");
            assert_eq!(host.read(&mut bytes), 32 << 10);
        });
    });
    group.bench_function("input in pages", |bencher| {
        bencher.iter(|| {
            host.write(&bytes[..32 << 10]);
            for page in 0..8 {
                raw.request(0, &[], &[(BODY + 4096 * page, 4096)]).expect("input waits");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, blk, console);
criterion_main!(benches);
