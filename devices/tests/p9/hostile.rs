//! Messages that no honest guest sends: the server answers each, and neither panics nor grows without bound.

use c2w_devices::backend::fs::{MemoryFs, MemoryLimits};
use c2w_devices::virtio::p9::request::{ParseError, parse};
use c2w_devices::virtio::p9::{Limits, Options, Server};
use proptest::prelude::*;

use crate::client::Bytes;

const KINDS: [u8; 29] = [
    8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 100, 102, 104, 108, 110, 116,
    118, 120, 122, 255,
];

fn small() -> Server<MemoryFs> {
    let limits = Limits {
        fids: 20,
        places: 30,
        handles: 3,
        open_files: 5,
        xattr_bytes: 1000,
        locks: 10,
        ..Limits::default()
    };
    let fs = MemoryFs::new(MemoryLimits { bytes: 4 << 20, files: 50 });
    Server::new(fs, Options { read_only: false, limits }).unwrap()
}

fn message(kind: u8, fields: &[u8]) -> Vec<u8> {
    Bytes::default().u32(fields.len() as u32 + 7).u8(kind).u16(1).raw(fields).0
}

/// A field of a message: small numbers, so that fids and names meet; huge ones; short names.
fn field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..6u32).prop_map(|value| value.to_le_bytes().to_vec()),
        1 => prop_oneof![Just(u32::MAX), Just(0x200), Just(0o40755), Just(0o100_644), any::<u32>()]
            .prop_map(|value| value.to_le_bytes().to_vec()),
        2 => (0..4u64).prop_map(|value| value.to_le_bytes().to_vec()),
        1 => prop_oneof![Just(u64::MAX), Just(1 << 62), any::<u64>()]
            .prop_map(|value| value.to_le_bytes().to_vec()),
        4 => prop_oneof![Just("a"), Just("b"), Just("c"), Just(".."), Just("a/b"), Just("user.x"), Just("")]
            .prop_map(|name| Bytes::default().string(name.as_bytes()).0),
        1 => (0..3u16).prop_map(|value| value.to_le_bytes().to_vec()),
        1 => any::<u8>().prop_map(|value| vec![value % 4]),
    ]
}

fn fields_of_kind() -> impl Strategy<Value = Vec<u8>> {
    let n = |max: u32| (0..max).prop_map(|value| value.to_le_bytes().to_vec());
    let name = || {
        prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")]
            .prop_map(|name| Bytes::default().string(name.as_bytes()).0)
    };
    let long = || {
        prop_oneof![8 => 0..9u64, 1 => Just(1 << 40), 1 => any::<u64>()]
            .prop_map(|value| value.to_le_bytes().to_vec())
    };
    let join = |kind: u8, parts: Vec<BoxedStrategy<Vec<u8>>>| {
        parts.prop_map(move |parts| message(kind, &parts.concat())).boxed()
    };
    let fid = || n(8).boxed();
    let mode = || {
        prop_oneof![Just(0o644u32), Just(0o010_644), Just(0o020_644), Just(0o755)]
            .prop_map(|value| value.to_le_bytes().to_vec())
    };
    let flags = || {
        prop_oneof![Just(0u32), Just(1), Just(2), Just(0o1002), Just(0o202)]
            .prop_map(|value| value.to_le_bytes().to_vec())
    };
    let names =
        prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just(".."), Just("..")], 0..5)
            .prop_map(|names| {
                let count = Bytes::default().u16(names.len() as u16);
                names.iter().fold(count, |bytes, name| bytes.string(name.as_bytes())).0
            });
    prop_oneof![
        8 => join(110, vec![fid(), fid(), names.boxed()]),
        3 => join(72, vec![fid(), name().boxed(), mode().boxed(), n(2).boxed()]),
        3 => join(14, vec![fid(), name().boxed(), flags().boxed(), mode().boxed(), n(2).boxed()]),
        3 => join(12, vec![fid(), flags().boxed()]),
        2 => join(18, vec![fid(), name().boxed(), mode().boxed(), n(2).boxed(), n(2).boxed(), n(2).boxed()]),
        3 => join(74, vec![fid(), name().boxed(), fid(), name().boxed()]),
        2 => join(20, vec![fid(), fid(), name().boxed()]),
        2 => join(70, vec![fid(), fid(), name().boxed()]),
        3 => join(76, vec![fid(), name().boxed(), prop_oneof![Just(0u32), Just(0x200)]
            .prop_map(|value| value.to_le_bytes().to_vec()).boxed()]),
        2 => join(120, vec![fid()]),
        1 => join(122, vec![fid()]),
        2 => join(116, vec![fid(), long().boxed(), n(5000).boxed()]),
        2 => join(40, vec![fid(), long().boxed(), n(500).boxed()]),
        2 => join(118, vec![fid(), long().boxed(), Just(Bytes::default().u32(3).raw(b"xyz").0).boxed()]),
        1 => join(24, vec![fid(), long().boxed()]),
        1 => join(26, vec![fid(), n(512).boxed(), mode().boxed(), n(2).boxed(), n(2).boxed(), long().boxed(),
            long().boxed(), long().boxed(), long().boxed(), long().boxed()]),
        1 => join(30, vec![fid(), fid(), name().boxed()]),
        1 => join(32, vec![fid(), name().boxed(), long().boxed(), n(4).boxed()]),
        2 => join(52, vec![fid(), n(1).prop_map(|_| vec![1]).boxed(), n(2).boxed(), long().boxed(), long().boxed(),
            n(3).boxed(), name().boxed()]),
        1 => join(50, vec![fid(), n(2).boxed()]),
        1 => join(104, vec![fid(), Just(u32::MAX.to_le_bytes().to_vec()).boxed(), name().boxed(),
            name().boxed(), n(3).boxed()]),
        1 => (0..KINDS.len(), prop::collection::vec(field(), 0..6))
            .prop_map(|(kind, fields)| message(KINDS[kind], &fields.concat())),
    ]
}

/// Sends messages; every reply is well-formed. Then the state is saved and restored.
fn drive(server: &mut Server<MemoryFs>, messages: &[Vec<u8>]) {
    let mut reply = vec![0; 10_000];
    for message in messages {
        let count = server.handle(message, &mut reply);
        assert!(count >= 7 && count <= reply.len());
        assert_eq!(u32::from_le_bytes(reply[..4].try_into().unwrap()) as usize, count);
        assert!(reply[4] == 7 || message.len() > 4 && reply[4] == message[4].wrapping_add(1));
    }
    let state = server.save();
    let options = Options { read_only: false, limits: server_limits() };
    let restored = Server::restore(server.file_system().clone(), options, &state).unwrap();
    let again = restored.save();
    assert_eq!(again.fids, state.fids);
    assert_eq!(again.places, state.places);
    server.reset();
    assert_eq!(server.save().places.iter().flatten().count(), 1, "places that nothing refers to");
    assert!(server.save().locks.is_empty());
}

fn server_limits() -> Limits {
    Limits {
        fids: 20,
        places: 30,
        handles: 3,
        open_files: 5,
        xattr_bytes: 1000,
        locks: 10,
        ..Limits::default()
    }
}

fn begin() -> Vec<Vec<u8>> {
    let version = Bytes::default().u32(8192).string(b"9P2000.L").0;
    let attach = Bytes::default().u32(0).u32(u32::MAX).string(b"").string(b"").u32(0).0;
    vec![message(100, &version), message(104, &attach)]
}

proptest! {
    #[test]
    fn garbage_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = parse(&bytes);
        let mut server = small();
        drive(&mut server, &[begin(), vec![bytes]].concat());
    }

    #[test]
    fn sizes_that_lie_are_answered(kind in 0..KINDS.len(), size in any::<u32>(), cut in 0..40usize,
            fields in prop::collection::vec(field(), 0..8)) {
        let mut bytes = message(KINDS[kind], &fields.concat());
        if size % 3 == 0 {
            bytes[..4].copy_from_slice(&(size % 64).to_le_bytes());
        } else if size % 3 == 1 {
            bytes[..4].copy_from_slice(&size.to_le_bytes());
        }
        bytes.truncate(bytes.len().saturating_sub(cut % 8));
        let mut server = small();
        drive(&mut server, &[begin(), vec![bytes]].concat());
    }

    #[test]
    fn any_sequence_of_requests_keeps_the_books(
        messages in prop::collection::vec(fields_of_kind(), 1..120),
    ) {
        let mut server = small();
        drive(&mut server, &[begin(), messages].concat());
    }

    #[test]
    fn a_state_is_restored_or_refused(
        messages in prop::collection::vec(fields_of_kind(), 1..60),
        change in any::<prop::sample::Index>(),
        digit in "[0-9]",
    ) {
        let mut server = small();
        let mut reply = vec![0; 10_000];
        for message in [begin(), messages].concat() {
            server.handle(&message, &mut reply);
        }
        // One digit somewhere in the saved text is another.
        let mut text = serde_json::to_string(&server.save()).unwrap();
        let digits: Vec<usize> = text.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
        let at = *change.get(&digits);
        text.replace_range(at..=at, &digit);
        if let Ok(state) = serde_json::from_str(&text) {
            let options = Options { read_only: false, limits: server_limits() };
            if let Ok(mut restored) = Server::restore(server.file_system().clone(), options, &state) {
                drive(&mut restored, &[]);
            }
        }
    }
}

#[test]
fn every_way_to_be_malformed() {
    for (bytes, error) in [
        (vec![], ParseError::NoHeader(0)),
        (vec![1, 0, 0, 0, 100, 0], ParseError::NoHeader(6)),
        (vec![6, 0, 0, 0, 100, 0, 0], ParseError::Size { stated: 6, arrived: 7 }),
        (vec![8, 0, 0, 0, 100, 0, 0], ParseError::Size { stated: 8, arrived: 7 }),
        (message(99, &[]), ParseError::UnknownKind(99)),
        (message(7, &[0; 4]), ParseError::UnknownKind(7)),
        (message(120, &[0; 3]), ParseError::EndsWithin("fid")),
        (message(120, &[0; 5]), ParseError::Trailing(1)),
        (message(118, &Bytes::default().u32(1).u64(0).u32(4).raw(b"abc").0), ParseError::EndsWithin("data")),
        (message(118, &Bytes::default().u32(1).u64(0).u32(u32::MAX).0), ParseError::EndsWithin("data")),
        (message(118, &Bytes::default().u32(1).u64(0).u32(2).raw(b"abc").0), ParseError::Trailing(1)),
        (message(116, &Bytes::default().u32(1).u64(1 << 63).u32(0).0), ParseError::Offset(1 << 63)),
        (message(110, &Bytes::default().u32(1).u32(2).u16(17).0), ParseError::WalkTooLong(17)),
        (message(12, &Bytes::default().u32(1).u32(3).0), ParseError::OpenFlags(3)),
        (message(16, &Bytes::default().u32(1).string(b"a").string(b"").u32(0).0), ParseError::Target(0)),
        (
            message(16, &Bytes::default().u32(1).string(b"a").string(&[b'x'; 4096]).u32(0).0),
            ParseError::Target(4096),
        ),
        (message(32, &Bytes::default().u32(1).string(b"").u64(0).u32(0).0), ParseError::XattrName(0)),
        (message(30, &Bytes::default().u32(1).u32(2).string(b"a\0").0), ParseError::XattrName(2)),
        (
            message(52, &Bytes::default().u32(1).u8(3).u32(0).u64(0).u64(0).u32(0).string(b"").0),
            ParseError::LockKind(3),
        ),
        (
            message(52, &Bytes::default().u32(1).u8(1).u32(0).u64(2).u64(u64::MAX).u32(0).string(b"").0),
            ParseError::LockRange { start: 2, length: u64::MAX },
        ),
        (
            message(52, &Bytes::default().u32(1).u8(1).u32(0).u64(2).u64(0).u32(0).string(&[b'x'; 256]).0),
            ParseError::ClientId(256),
        ),
    ] {
        assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
    }
}
