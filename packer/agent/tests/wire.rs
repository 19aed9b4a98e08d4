//! Properties of the protocol: every message survives the way in pieces of any size, and bytes
//! that are no message are refused without panic or growth, by decoder and session.

use c2w_agent::{
    Command, Decoder, Event, FailureKind, FileSpec, HEADER_BYTES, MAX_FRAME_PAYLOAD, Message, MountSpec,
    Output, Power, Ready, Report, Session, SessionError, StartSpec, Status, VERSION, WINDOW_BYTES,
    WindowSize, WireError,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn output() -> impl Strategy<Value = Output> {
    prop_oneof![Just(Output::Stdout), Just(Output::Stderr)]
}

fn size() -> impl Strategy<Value = WindowSize> {
    any::<(u16, u16)>().prop_map(|(rows, columns)| WindowSize { rows, columns })
}

fn start() -> impl Strategy<Value = StartSpec> {
    let flags = any::<(bool, bool, bool)>();
    (vec(bytes(), 0..5), vec(bytes(), 0..5), bytes(), bytes(), proptest::option::of(size()), flags).prop_map(
        |(argv, env, cwd, user, tty, (stdin, read_only_root, privileged))| StartSpec {
            argv,
            env,
            cwd,
            user,
            tty,
            stdin,
            read_only_root,
            privileged,
        },
    )
}

fn mount() -> impl Strategy<Value = MountSpec> {
    (bytes(), bytes(), bytes(), any::<bool>(), any::<u32>(), bytes()).prop_map(
        |(tag, source, target, read_only, msize, options)| MountSpec {
            tag,
            source,
            target,
            read_only,
            msize,
            options,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let file = (bytes(), any::<u32>(), vec(any::<u8>(), 0..70_000))
        .prop_map(|(path, mode, contents)| FileSpec { path, mode, contents });
    prop_oneof![
        any::<u32>().prop_map(|version| Command::Hello { version }),
        any::<u64>().prop_map(|unix_ns| Command::Clock { unix_ns }),
        bytes().prop_map(|seed| Command::Entropy { seed }),
        (any::<u32>(), bytes()).prop_map(|(request, name)| Command::Hostname { request, name }),
        (any::<u32>(), file).prop_map(|(request, file)| Command::File { request, file }),
        (any::<u32>(), mount()).prop_map(|(request, mount)| Command::Mount { request, mount }),
        (any::<u32>(), start()).prop_map(|(process, spec)| Command::Start { process, spec }),
        (any::<u32>(), vec(any::<u8>(), 0..200_000))
            .prop_map(|(process, bytes)| Command::Stdin { process, bytes }),
        any::<u32>().prop_map(|process| Command::StdinEof { process }),
        (any::<u32>(), output(), any::<u32>()).prop_map(|(process, output, bytes)| Command::Window {
            process,
            output,
            bytes
        }),
        (any::<u32>(), size()).prop_map(|(process, size)| Command::Resize { process, size }),
        any::<(u32, u8)>().prop_map(|(process, signal)| Command::Signal { process, signal }),
        (any::<u32>(), output()).prop_map(|(process, output)| Command::CloseOutput { process, output }),
        any::<u32>().prop_map(|request| Command::Prepare { request }),
        (any::<u32>(), vec(bytes(), 0..9)).prop_map(|(request, paths)| Command::Read { request, paths }),
        any::<u32>().prop_map(|request| Command::Freeze { request }),
        any::<u32>().prop_map(|request| Command::Thaw { request }),
        prop_oneof![Just(Power::Off), Just(Power::Reboot)].prop_map(|power| Command::Shutdown { power }),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    let text = "[a-z \u{e4}\u{20ac}]{0,60}";
    let ready = (any::<u32>(), text, text)
        .prop_map(|(version, arch, kernel)| Report::Ready(Ready { version, arch, kernel }));
    let kind =
        prop_oneof![Just(FailureKind::NotFound), Just(FailureKind::NotExecutable), Just(FailureKind::Other)];
    let status = prop_oneof![any::<u8>().prop_map(Status::Code), (1u8..65).prop_map(Status::Signal)];
    prop_oneof![
        ready,
        any::<u32>().prop_map(|request| Report::Done { request }),
        (any::<u32>(), text).prop_map(|(request, message)| Report::Failed { request, message }),
        text.prop_map(|text| Report::Log { text }),
        any::<u32>().prop_map(|process| Report::Started { process }),
        (any::<u32>(), kind, text).prop_map(|(process, kind, message)| Report::StartFailed {
            process,
            kind,
            message
        }),
        (any::<u32>(), output(), vec(any::<u8>(), 0..MAX_FRAME_PAYLOAD))
            .prop_map(|(process, output, bytes)| Report::Output { process, output, bytes }),
        (any::<u32>(), output()).prop_map(|(process, output)| Report::OutputEof { process, output }),
        any::<(u32, u32)>().prop_map(|(process, bytes)| Report::StdinWindow { process, bytes }),
        any::<u32>().prop_map(|process| Report::StdinClosed { process }),
        (any::<u32>(), status).prop_map(|(process, status)| Report::Exited { process, status }),
    ]
}

/// Decodes a stream that arrives in pieces of these sizes, over and over.
fn decode<M: Message>(stream: &[u8], pieces: &[usize]) -> Result<Vec<M>, WireError> {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    let mut rest = stream;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut now, later) = rest.split_at((*piece).min(rest.len()));
        rest = later;
        while let Some(message) = decoder.next(&mut now)? {
            messages.push(message);
        }
    }
    Ok(messages)
}

fn encode<M: Message>(messages: &[M]) -> Vec<u8> {
    let mut stream = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut stream));
    stream
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind, flags, 0, 0];
    frame.extend_from_slice(&id.to_le_bytes());
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn commands_survive_the_way(messages in vec(command(), 1..6), pieces in vec(1usize..9000, 1..5)) {
        prop_assert_eq!(decode::<Command>(&encode(&messages), &pieces), Ok(messages));
    }

    #[test]
    fn reports_survive_the_way(messages in vec(report(), 1..6), pieces in vec(1usize..9000, 1..5)) {
        prop_assert_eq!(decode::<Report>(&encode(&messages), &pieces), Ok(messages));
    }

    #[test]
    fn any_bytes_are_taken_or_refused(stream in vec(any::<u8>(), 0..400), pieces in vec(1usize..50, 1..5)) {
        let _ = decode::<Command>(&stream, &pieces);
        let _ = decode::<Report>(&stream, &pieces);
    }

    #[test]
    fn payloads_of_any_bytes_are_taken_or_refused(kind: u8, id: u32, payload in bytes()) {
        let stream = frame(kind, 0, id, &payload);
        if let Ok(commands) = decode::<Command>(&stream, &[7]) {
            prop_assert_eq!(decode::<Command>(&encode(&commands), &[7]), Ok(commands));
        }
        if let Ok(reports) = decode::<Report>(&stream, &[7]) {
            prop_assert_eq!(decode::<Report>(&encode(&reports), &[7]), Ok(reports));
        }
    }

    #[test]
    fn a_message_cut_short_or_changed_never_panics(message in command(), cut: prop::sample::Index, flip: prop::sample::Index, bit in 0u8..8) {
        let mut stream = encode(&[message]);
        let _ = decode::<Command>(&stream[..cut.index(stream.len())], &[100_000]);
        let at = flip.index(stream.len());
        stream[at] ^= 1 << bit;
        let _ = decode::<Command>(&stream, &[100_000]);
    }

    #[test]
    fn a_session_survives_any_reports(reports in vec(report_about_few(), 0..40)) {
        let mut session = Session::new();
        let shell = session.start(StartSpec { stdin: true, ..StartSpec::default() });
        session.start(StartSpec { tty: Some(WindowSize { rows: 1, columns: 1 }), ..StartSpec::default() });
        let stream = encode(&reports);
        let mut input = stream.as_slice();
        while let Ok(Some(event)) = session.next_event(&mut input) {
            if let Event::Output(process, output, bytes) = event {
                prop_assert!(bytes.len() <= WINDOW_BYTES as usize);
                session.consumed(process, output, bytes.len());
            }
            session.write_stdin(shell, &[0; 1000]);
        }
        // Whatever credit the guest claimed, it is not for more than a window was ever owed.
        prop_assert!(session.outgoing().len() < 50 * 2000 + WINDOW_BYTES as usize);
    }
}

/// Reports about the two processes of a session, so that they are often in order.
fn report_about_few() -> impl Strategy<Value = Report> {
    let process = 0u32..4;
    prop_oneof![
        process.clone().prop_map(|process| Report::Started { process }),
        (process.clone(), output(), vec(any::<u8>(), 0..300))
            .prop_map(|(process, output, bytes)| Report::Output { process, output, bytes }),
        (process.clone(), output()).prop_map(|(process, output)| Report::OutputEof { process, output }),
        (process.clone(), any::<u32>()).prop_map(|(process, bytes)| Report::StdinWindow { process, bytes }),
        (process.clone(), 0u32..2000).prop_map(|(process, bytes)| Report::StdinWindow { process, bytes }),
        process.prop_map(|process| Report::Exited { process, status: Status::Code(0) }),
        Just(Report::Log { text: String::new() }),
    ]
}

#[test]
fn limits_are_kept() {
    let start = |len: usize| Command::Start {
        process: 9,
        spec: StartSpec { argv: vec![vec![b'x'; len]], ..StartSpec::default() },
    };
    let big = start(7_000_000);
    assert_eq!(decode::<Command>(&encode(std::slice::from_ref(&big)), &[65536]), Ok(vec![big]));
    let too_big = encode(&[start(9_000_000)]);
    let limit = WireError::MessageTooLong(Command::MAX_PAYLOAD);
    assert_eq!(decode::<Command>(&too_big, &[65536]), Err(limit));

    let empty = |kind, flags, id| frame(kind, flags, id, &[]);
    // (bytes, as which error)
    let cases = [
        ([0x01, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0].to_vec(), WireError::FrameTooLong(65537)),
        (empty(0x01, 2, 0), WireError::UnknownFlags),
        ([0x01, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec(), WireError::UnknownFlags),
        ([empty(0x10, 1, 1), empty(0x10, 0, 2)].concat(), WireError::Interrupted),
        ([empty(0x10, 1, 1), empty(0x11, 0, 1)].concat(), WireError::Interrupted),
        (empty(0x00, 0, 0), WireError::UnknownKind(0x00)),
        (empty(0x81, 0, 0), WireError::UnknownKind(0x81)),
        (empty(0x01, 0, 0), WireError::Truncated(0x01)),
        (frame(0x01, 0, 0, &[1, 0, 0, 0, 0]), WireError::TrailingBytes(0x01)),
        (frame(0x20, 0, 0, &[2]), WireError::BadValue(0x20)),
        // A list that claims four thousand million entries.
        (frame(0x10, 0, 0, &[[0; 13].as_slice(), &[255; 4]].concat()), WireError::Truncated(0x10)),
    ];
    for (stream, error) in cases {
        assert_eq!(decode::<Command>(&stream, &[5]), Err(error), "{stream:?}");
    }
    // A decoder that has failed stays so.
    let mut decoder = Decoder::<Command>::default();
    assert_eq!(decoder.next(&mut empty(0, 0, 0).as_slice()), Err(WireError::UnknownKind(0)));
    let good = encode(&[Command::Hello { version: 1 }]);
    assert_eq!(decoder.next(&mut good.as_slice()), Err(WireError::UnknownKind(0)));
}

#[test]
fn text_from_the_guest_cannot_steer_a_terminal() {
    let stream = frame(0x84, 0, 0, b"\x1b[2Jred\n\xff\x07");
    let text = "\u{fffd}[2Jred\u{fffd}\u{fffd}\u{fffd}".to_string();
    assert_eq!(decode::<Report>(&stream, &[100]), Ok(vec![Report::Log { text }]));
}

/// Feeds one report to a session.
fn tell(session: &mut Session, report: Report) -> Result<Option<Event>, SessionError> {
    session.next_event(&mut encode(&[report]).as_slice())
}

/// What a session has to send, as commands.
fn sent(session: &mut Session) -> Vec<Command> {
    let commands = decode(session.outgoing(), &[65536]).expect("good commands");
    session.sent(session.outgoing().len());
    commands
}

#[test]
fn a_session_keeps_count_of_credit() {
    let mut session = Session::new();
    let id = session.start(StartSpec { stdin: true, ..StartSpec::default() });
    assert_eq!(sent(&mut session)[0], Command::Hello { version: VERSION });
    let window = WINDOW_BYTES as usize;

    // Input: one window, then as much as is given back, and no guest can give back more.
    assert_eq!(session.write_stdin(id, &vec![1; window + 5]), window);
    assert_eq!((session.write_stdin(id, b"x"), session.stdin_room(id)), (0, Some(0)));
    let total: usize = sent(&mut session)
        .iter()
        .map(|command| match command {
            Command::Stdin { process: 1, bytes } => bytes.len(),
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(total, window);
    assert_eq!(tell(&mut session, Report::Started { process: 1 }), Ok(Some(Event::Started(id))));
    assert_eq!(
        tell(&mut session, Report::StdinWindow { process: 1, bytes: 100 }),
        Ok(Some(Event::StdinReady(id)))
    );
    assert_eq!(session.write_stdin(id, &[2; 200]), 100);
    session.close_stdin(id);
    assert_eq!(session.write_stdin(id, b"dropped"), 7);
    assert_eq!(sent(&mut session).last(), Some(&Command::StdinEof { process: 1 }));

    // Output: credit goes back in halves of a window.
    let data = |len: usize| Report::Output { process: 1, output: Output::Stdout, bytes: vec![0; len] };
    for _ in 0..window / 65536 {
        assert!(matches!(tell(&mut session, data(65536)), Ok(Some(Event::Output(..)))));
    }
    session.consumed(id, Output::Stdout, window / 2 - 1);
    assert_eq!(sent(&mut session), []);
    session.consumed(id, Output::Stdout, 1);
    let half = Command::Window { process: 1, output: Output::Stdout, bytes: WINDOW_BYTES / 2 };
    assert_eq!(sent(&mut session), [half]);
    // Saying that more was consumed than there was gives no credit.
    session.consumed(id, Output::Stderr, usize::MAX);
    assert_eq!(sent(&mut session), []);
    for _ in 0..window / 65536 / 2 {
        assert!(tell(&mut session, data(65536)).is_ok());
    }
    assert_eq!(tell(&mut session, data(1)), Err(SessionError::WindowExceeded));
}

#[test]
fn a_session_refuses_what_is_out_of_order() {
    let one = |report| {
        let mut session = Session::new();
        session.start(StartSpec::default());
        tell(&mut session, report)
    };
    let eof = |output| Report::OutputEof { process: 1, output };
    let status = Status::Code(0);
    for report in [
        Report::Done { request: 0 },
        Report::Done { request: 2 },
        Report::Started { process: 2 },
        eof(Output::Stdout),
        Report::Exited { process: 1, status },
        Report::StdinClosed { process: 1 },
        Report::Output { process: 1, output: Output::Stdout, bytes: vec![0] },
    ] {
        assert_eq!(one(report.clone()), Err(SessionError::OutOfOrder), "{report:?}");
    }
    let old = Ready { version: VERSION + 1, ..Ready::default() };
    assert_eq!(one(Report::Ready(old)), Err(SessionError::Version { agent: VERSION + 1 }));

    // In order, to the end; a terminal has no second output.
    for tty in [None, Some(WindowSize { rows: 1, columns: 1 })] {
        let mut session = Session::new();
        let id = session.start(StartSpec { tty, ..StartSpec::default() });
        assert_eq!(tell(&mut session, Report::Started { process: 1 }), Ok(Some(Event::Started(id))));
        assert!(tell(&mut session, eof(Output::Stdout)).is_ok());
        if tty.is_none() {
            assert!(tell(&mut session, eof(Output::Stderr)).is_ok());
        }
        assert!(session.is_alive(id));
        assert_eq!(
            tell(&mut session, Report::Exited { process: 1, status }),
            Ok(Some(Event::Exited(id, status)))
        );
        assert!(!session.is_alive(id));
        // Commands about it are no mistake, only late.
        sent(&mut session);
        session.signal(id, 9);
        session.consumed(id, Output::Stdout, 5);
        assert_eq!((session.write_stdin(id, b"late"), sent(&mut session)), (4, vec![]));
        assert_eq!(tell(&mut session, eof(Output::Stdout)), Err(SessionError::OutOfOrder));
    }
    assert_eq!(HEADER_BYTES, 12);
}
