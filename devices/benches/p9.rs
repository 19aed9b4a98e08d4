//! The 9P server over a host directory and over memory: what a request costs without a guest and its queue.

#![allow(missing_docs, reason = "criterion_group! makes a public function")]

use c2w_devices::backend::fs::native::{NativeFs, NativeOptions};
use c2w_devices::backend::fs::{FileSystem, MemoryFs, MemoryLimits};
use c2w_devices::virtio::p9::{Options, Server};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};

const FILE_BYTES: usize = 64 << 20;
const MSIZE_BYTES: u32 = 1 << 20;
const FILES: usize = 1000;

fn message(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let fields = fields.concat();
    let size = (fields.len() as u32 + 7).to_le_bytes();
    [&size[..], &[kind, 0, 0], &fields].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

struct Session<F: FileSystem> {
    server: Server<F>,
    reply: Vec<u8>,
}

impl<F: FileSystem> Session<F> {
    fn new(fs: F) -> Self {
        let server = Server::new(fs, Options::default()).expect("the share has a root");
        let mut session = Session { server, reply: vec![0; MSIZE_BYTES as usize] };
        session.send(&message(100, &[&MSIZE_BYTES.to_le_bytes(), &string("9P2000.L")]));
        let [root, none] = [0u32.to_le_bytes(), u32::MAX.to_le_bytes()];
        session.send(&message(104, &[&root, &none, &string(""), &string(""), &none]));
        session
    }

    /// Length of the reply, which must not be an error.
    fn send(&mut self, message: &[u8]) -> usize {
        let count = self.server.handle(message, &mut self.reply);
        assert_eq!(self.reply[4], message[4] + 1);
        count
    }

    fn walk(&mut self, fid: u32, name: &str) {
        self.send(&walk(fid, name));
    }
}

fn walk(fid: u32, name: &str) -> Vec<u8> {
    message(110, &[&0u32.to_le_bytes(), &fid.to_le_bytes(), &1u16.to_le_bytes(), &string(name)])
}

fn requests<F: FileSystem>(group: &mut BenchmarkGroup<'_, WallTime>, mut session: Session<F>) {
    let [one, two, rw] = [1u32, 2, 2].map(u32::to_le_bytes);
    session.walk(1, "large");
    session.send(&message(12, &[&one, &rw]));
    for (name, count) in [("1 MiB", MSIZE_BYTES - 24), ("128 KiB", 128 << 10), ("4 KiB", 4096)] {
        group.throughput(Throughput::Bytes(count.into()));
        let mut offset = 0u64;
        let mut next = || {
            offset = (offset + u64::from(count)) % (FILE_BYTES as u64 - u64::from(count));
            offset.to_le_bytes()
        };
        group.bench_function(format!("read {name}"), |bencher| {
            bencher.iter(|| session.send(&message(116, &[&one, &next(), &count.to_le_bytes()])));
        });
        let mut write =
            message(118, &[&one, &0u64.to_le_bytes(), &count.to_le_bytes(), &vec![7; count as usize]]);
        group.bench_function(format!("write {name}"), |bencher| {
            bencher.iter(|| {
                write[11..19].copy_from_slice(&next());
                session.send(&write)
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    let get_attr = message(24, &[&one, &0x7ffu64.to_le_bytes()]);
    group.bench_function("getattr", |bencher| bencher.iter(|| session.send(&get_attr)));
    let (stat_walk, stat, clunk) =
        (walk(2, "large"), message(24, &[&two, &0x7ffu64.to_le_bytes()]), message(120, &[&two]));
    group.bench_function("walk, getattr, clunk", |bencher| {
        bencher.iter(|| {
            session.send(&stat_walk);
            session.send(&stat);
            session.send(&clunk)
        });
    });
    session.walk(3, "many");
    session.send(&message(12, &[&3u32.to_le_bytes(), &0u32.to_le_bytes()]));
    group.throughput(Throughput::Elements(FILES as u64));
    group.bench_function("list 1000 files", |bencher| {
        bencher.iter(|| {
            let fields: [&[u8]; 3] = [&3u32.to_le_bytes(), &0u64.to_le_bytes(), &MSIZE_BYTES.to_le_bytes()];
            session.send(&message(40, &fields))
        });
    });
}

fn p9(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("large"), vec![1; FILE_BYTES]).expect("room for a file");
    std::fs::create_dir(dir.path().join("many")).expect("room for a directory");
    let memory = MemoryFs::new(MemoryLimits::default());
    memory.put(b"large", 0o644, &vec![1; FILE_BYTES]).expect("room for a file");
    for index in 0..FILES {
        std::fs::write(dir.path().join(format!("many/{index}")), "").expect("room for files");
        memory.put(format!("many/{index}").as_bytes(), 0o644, b"").expect("room for files");
    }
    let native = NativeFs::new(dir.path(), NativeOptions::default()).expect("a directory can be shared");
    let mut group = criterion.benchmark_group("p9 host directory");
    requests(&mut group, Session::new(native));
    group.finish();
    let mut group = criterion.benchmark_group("p9 memory");
    requests(&mut group, Session::new(memory));
    group.finish();
}

criterion_group!(benches, p9);
criterion_main!(benches);
