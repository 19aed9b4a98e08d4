//! `c2w-run -it`: a real terminal in the container that follows the host's, and a host terminal that is left as it was.

use crate::common::pty::Session;

#[test]
fn a_shell_in_a_terminal() {
    let mut session = Session::start(&["-it", "sh"]);
    session.wait_for("# ");
    session.type_text("tty; stty size; echo $TERM\n");
    session.wait_for("/dev/pts/");
    session.wait_for("33 101");
    session.wait_for("xterm");
    session.resize(50, 132);
    session.type_text("until stty size | grep '50 132'; do sleep 0.05; done; echo resized\n");
    session.wait_for("50 132\r\n");
    session.wait_for("resized\r\n");
    // Ctrl-C ends the program in the foreground, not the shell and not c2w-run. The program must have said something: one
    // that the shell is about to start may miss it.
    session.type_text("cat -A; echo en''d\nhere\n");
    session.wait_for("here$");
    session.type_text("\x03");
    session.wait_for("# ");
    session.type_text("echo alive; exit 5\n");
    session.wait_for("alive\r\n");
    assert_eq!(session.end(), (5, true));
}

#[test]
fn the_terminal_is_restored_when_a_signal_ends_the_run() {
    let mut session = Session::start(&[
        "-it",
        "sh",
        "-c",
        "trap 'echo ignored' TERM; echo up; while :; do sleep 0.05; done",
    ]);
    session.wait_for("up\r\n");
    let pid = rustix::process::Pid::from_child(&session.child);
    let terminate = || rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    for _ in 0..2 {
        terminate();
        session.wait_for("ignored\r\n");
    }
    // As with docker, the third one ends a run that ignores them.
    terminate();
    assert_eq!(session.end(), (128 + 15, true));
}

#[test]
fn the_terminal_is_restored_after_a_failure() {
    let session = Session::start(&["-it", "no-such-program"]);
    assert_eq!(session.end(), (127, true));
}

#[test]
fn a_closed_terminal_ends_the_run() {
    // A first process that has no handler for SIGHUP ignores it.
    let mut session = Session::start(&["-it", "sh", "-c", "echo up; exec sleep 100000"]);
    session.wait_for("up\r\n");
    assert_eq!(session.hang_up(), 128 + 1);
}
