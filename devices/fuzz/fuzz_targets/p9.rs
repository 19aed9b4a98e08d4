//! 9P messages from a hostile guest: the input is cut into messages, which one server over a tree in memory handles in
//! turn. Replies are well-formed, the state can be saved and restored, and nothing is left over after a reset.

#![no_main]

use c2w_devices::backend::fs::{MemoryFs, MemoryLimits};
use c2w_devices::virtio::p9::{Limits, Options, Server};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    msize_bytes: 8192,
    fids: 20,
    places: 30,
    handles: 3,
    open_files: 5,
    xattr_bytes: 1000,
    locks: 10,
};
/// Tversion (8192 bytes, "9P2000.L") and Tattach of fid 0.
const OPENING: [&[u8]; 2] = [
    b"\x15\0\0\0\x64\xff\xff\0\x20\0\0\x08\x009P2000.L",
    b"\x17\0\0\0\x68\x01\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0",
];

fuzz_target!(|input: &[u8]| {
    let fs = MemoryFs::new(MemoryLimits { bytes: 4 << 20, files: 50 });
    let options = Options { read_only: false, limits: LIMITS };
    let mut server = Server::new(fs.clone(), options).expect("a tree in memory has a root");
    let mut reply = [0; 9000];
    for message in OPENING {
        server.handle(message, &mut reply);
        assert_eq!(reply[4], message[4] + 1);
    }
    let mut script = input;
    // A byte tells the length of a message's fields, the next its type; the header is made to fit, unless the length
    // is odd: then the message is taken as it is.
    while let [len, rest @ ..] = script {
        let (body, rest) = rest.split_at(usize::from(len / 2).min(rest.len()));
        script = rest;
        let mut message = Vec::new();
        if len % 2 == 0 {
            message.extend((body.len() as u32 + 6).max(7).to_le_bytes());
            message.push(body.first().copied().unwrap_or(0));
            message.extend([1, 0]);
            message.extend(body.get(1..).unwrap_or(&[]));
        } else {
            message.extend(body);
        }
        let count = server.handle(&message, &mut reply);
        assert!((11..=8192).contains(&count) || (7..11).contains(&count) && reply[4] != 7);
        assert_eq!(reply[..4], (count as u32).to_le_bytes());
    }
    let state = server.save();
    let restored = Server::restore(fs, options, &state).expect("what was saved can be restored").save();
    assert_eq!((&restored.fids, &restored.places), (&state.fids, &state.places));
    server.reset();
    assert_eq!(server.save().places.len(), 1);
});
