//! Container images through the commands: packed, run as their configuration says, looked at, written
//! back, and sent to a registry and got again.

mod common;

use c2w_packer::cache::Cache;
use c2w_packer::toolchain::oci_tools;
use common::{C2W, C2W_RUN, assert_one_line, finish, parts, rootfs, scratch};
use serde_json::Value;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Architecture of the guests.
pub const ARCH: c2w_packer::image::Arch = c2w_packer::image::Arch::X86_64;

#[track_caller]
fn tool(program: &str, arguments: &[&str]) {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| oci_tools(&Cache::of_user().unwrap()).unwrap());
    let output = Command::new(program).args(arguments).current_dir(scratch()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn c2w(arguments: &[&str]) -> Output {
    let mut command = Command::new(C2W);
    command.args(arguments).current_dir(scratch());
    finish(command, b"")
}

/// What a command that succeeds writes to standard output.
#[track_caller]
fn c2w_text(arguments: &[&str]) -> String {
    let (status, stdout, stderr) = parts(&c2w(arguments));
    assert_eq!(status, 0, "{arguments:?}: {stderr}");
    stdout
}

#[track_caller]
fn run(image: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(C2W_RUN);
    command.arg(image).args(arguments).current_dir(scratch());
    let (status, stdout, stderr) = parts(&finish(command, b""));
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

fn tar_with(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An image of two layers, `img.c2w`, from the layout `img:t` made by umoci.
fn image() -> PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE
        .get_or_init(|| {
            tool("umoci", &["init", "--layout", "img"]);
            tool("umoci", &["new", "--image", "img:t"]);
            let upper = tar_with(&[("opt/note", "from the image\n"), ("etc/.wh.debian_version", "")]);
            fs::write(scratch().join("upper.tar"), upper).unwrap();
            for layer in [rootfs().display().to_string(), "upper.tar".to_string()] {
                tool("umoci", &["raw", "add-layer", "--image", "img:t", &layer]);
            }
            #[rustfmt::skip]
            tool("umoci", &[
                "config", "--image", "img:t", "--architecture", "amd64", "--os", "linux",
                "--config.entrypoint", "sh", "--config.entrypoint", "-c", "--config.cmd", "cat note; pwd; id -u; echo $FLAVOUR",
                "--config.env", "FLAVOUR=plain", "--config.env", "PATH=/usr/bin:/bin", "--config.workingdir", "/opt",
                "--config.user", "7:8", "--config.exposedports", "80/tcp", "--config.label", "org.example=yes",
                "--config.volume", "/data", "--config.stopsignal", "SIGINT",
            ]);
            assert_eq!(c2w_text(&["pack", "oci:img:t", "-o", "img.c2w"]), "");
            scratch().join("img.c2w")
        })
        .clone()
}

fn json(image: &str) -> Value {
    serde_json::from_str(&c2w_text(&["inspect", "--json", image])).unwrap()
}

/// The hash of the root filesystem.
fn rootfs_hash(image: &str) -> String {
    let json = json(image);
    let sections = json["sections"].as_array().unwrap();
    let rootfs = sections.iter().find(|section| section["name"] == "rootfs").unwrap();
    rootfs["blake3"].as_str().unwrap().to_string()
}

#[test]
fn an_image_runs_as_its_configuration_says() {
    image();
    assert_eq!(run("img.c2w", &[]), "from the image\n/opt\n7\nplain\n");
    assert_eq!(run("img.c2w", &["ls /etc/debian_version 2>&1 || echo gone"]).lines().last(), Some("gone"));
    c2w_text(&[
        "pack",
        "oci:img:t",
        "-o",
        "other.c2w",
        "--cmd",
        "'echo $FLAVOUR; id -u'",
        "-e",
        "FLAVOUR=other",
        "-u",
        "0",
    ]);
    assert_eq!(run("other.c2w", &[]), "other\n0\n");
    // The same input gives the same bytes, but for the machine that has booted.
    let cold = |name: &str| {
        c2w_text(&["pack", "--no-snapshot", "oci:img:t", "-o", name]);
        fs::read(scratch().join(name)).unwrap()
    };
    assert!(cold("once.c2w") == cold("again.c2w"));
    assert_eq!(rootfs_hash("once.c2w"), rootfs_hash("img.c2w"));
}

#[test]
fn an_image_can_be_looked_at() {
    image();
    let json = json("img.c2w");
    let config = &json["manifest"]["config"];
    assert_eq!(config["Entrypoint"], serde_json::json!(["sh", "-c"]));
    assert_eq!((&config["User"], &config["Labels"]["org.example"]), (&"7:8".into(), &"yes".into()));
    assert!(json["manifest"]["provenance"]["image_digest"].as_str().unwrap().starts_with("sha256:"));
    let text = c2w_text(&["inspect", "img.c2w"]);
    #[rustfmt::skip]
    let lines = [
        "machine         x86_64, 512 MiB", "entry point     \"sh\" \"-c\"", "exposed ports   80/tcp",
        "volumes         /data", "stop signal     SIGINT", "labels          org.example=yes",
    ];
    let snapshot = text.lines().find(|line| line.starts_with("snapshot        a booted machine, "));
    assert!(snapshot.is_some_and(|line| line.ends_with(" of 512 MiB; this build resumes it")), "{text}");
    assert_eq!(
        (&json["snapshot"]["usable"], &json["snapshot"]["memory_bytes"]),
        (&true.into(), &(512 << 20).into())
    );
    let pages = json["snapshot"]["resident_pages"].as_u64().unwrap();
    let ram = json["sections"].as_array().unwrap().iter().find(|section| section["name"] == "ram").unwrap();
    assert_eq!(Some(pages * 4096), ram["bytes"].as_u64());
    for line in lines {
        assert!(text.lines().any(|found| found == line), "{line:?} in {text}");
    }
    assert_eq!(c2w_text(&["ls", "img.c2w", "/opt"]), "note\n");
    let long = c2w_text(&["ls", "-l", "img.c2w", "opt/note"]);
    assert!(long.starts_with("-rw-r--r--   1     0     0         15 1970-01-01 00:00 opt/note"), "{long}");
    assert!(c2w_text(&["ls", "-R", "img.c2w"]).lines().any(|line| line == "opt/note"));
    assert_eq!(c2w_text(&["cat", "img.c2w", "/opt/note"]), "from the image\n");
    c2w_text(&["extract", "img.c2w", "/opt", "-o", "extracted"]);
    assert_eq!(fs::read_to_string(scratch().join("extracted/note")).unwrap(), "from the image\n");
}

#[test]
fn an_image_goes_back_into_a_layout() {
    image();
    let digest = c2w_text(&["unpack", "img.c2w", "oci:back:v1"]);
    assert!(digest.starts_with("sha256:"), "{digest}");
    c2w_text(&["unpack", "img.c2w", "oci:back:v2"]);
    c2w_text(&["pack", "oci:back:v1", "-o", "back.c2w"]);
    assert_eq!(json("back.c2w")["manifest"]["config"], json("img.c2w")["manifest"]["config"]);
    // The way back again ends where it began.
    assert_eq!(c2w_text(&["unpack", "back.c2w", "oci:again:v1"]), digest);
    assert_eq!(c2w_text(&["ls", "-lR", "back.c2w"]), c2w_text(&["ls", "-lR", "img.c2w"]));
    // Other tools read it, too.
    tool("umoci", &["unpack", "--image", "back:v2", "bundle"]);
    assert_eq!(fs::read_to_string(scratch().join("bundle/rootfs/opt/note")).unwrap(), "from the image\n");
}

#[test]
fn two_packs_of_one_image_at_once() {
    image();
    let pack = || {
        let mut command = Command::new(C2W);
        command.args(["pack", "--no-snapshot", "oci:img:t", "-o", "both.c2w"]).current_dir(scratch());
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    for child in [pack(), pack()] {
        let (status, _, stderr) = parts(&child.wait_with_output().unwrap());
        assert_eq!(status, 0, "{stderr}");
    }
    assert_eq!(c2w_text(&["verify", "both.c2w"]), "both.c2w: good\n");
    assert_eq!(rootfs_hash("both.c2w"), rootfs_hash("img.c2w"));
}

/// A registry that ends with the value.
struct Registry(Child, String);

impl Registry {
    fn start() -> Registry {
        Registry::serve("registry", "")
    }

    /// One that speaks TLS, with a certificate of the authority in `ca.pem`.
    fn start_with_tls() -> Registry {
        let openssl = |arguments: &str| tool("openssl", &arguments.split(' ').collect::<Vec<_>>());
        openssl(
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=authority -days 3650",
        );
        openssl("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server");
        fs::write(scratch().join("server.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile server.ext -out \
             server.pem",
        );
        Registry::serve("tls", ", tls: {certificate: server.pem, key: server.key}")
    }

    /// Starts one with its files under `name`; `more` goes into the `http` part of its configuration.
    fn serve(name: &str, more: &str) -> Registry {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let place = scratch().display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {place}/{name}}}}}\n\
             http: {{addr: \"{address}\"{more}}}\n"
        );
        let file = format!("{name}.yml");
        fs::write(scratch().join(&file), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(file).current_dir(scratch());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..600 {
            if TcpStream::connect(&address).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Registry(process, address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back() {
    image();
    let registry = Registry::start();
    let name = format!("{}/c2w/img:v1", registry.1);
    let pushed = c2w_text(&["push", "img.c2w", &name]);
    assert_eq!(c2w_text(&["push", "img.c2w", &name]), pushed);
    for reference in [&name, pushed.trim()] {
        c2w_text(&["pull", reference, "-o", "pulled.c2w"]);
        assert!(fs::read(scratch().join("pulled.c2w")).unwrap() == fs::read(image()).unwrap());
        fs::remove_file(scratch().join("pulled.c2w")).unwrap();
    }
    tool(
        "skopeo",
        &["copy", "--dest-tls-verify=false", "oci:img:t", &format!("docker://{}/box:t", registry.1)],
    );
    c2w_text(&["pack", &format!("{}/box:t", registry.1), "-o", "box.c2w"]);
    assert_eq!(rootfs_hash("box.c2w"), rootfs_hash("img.c2w"));
    // Each command refuses what the other is for.
    let pull = |reference: &str| c2w(&["pull", reference, "-o", "never.c2w"]);
    assert_one_line(&pull(&format!("{}/box:t", registry.1)), 1, "c2w pack packs a container image");
    assert_one_line(&c2w(&["pack", &name, "-o", "never.c2w"]), 1, "c2w pull gets an image.c2w");
    assert_one_line(&pull(&format!("{}/box:none", registry.1)), 1, "has no box:none");
    assert!(!scratch().join("never.c2w").exists());
    // A compressed one, too.
    c2w_text(&["pack", "oci:img:t", "--compress", "-o", "small.c2w"]);
    c2w_text(&["push", "small.c2w", &name]);
    c2w_text(&["pull", &name, "-o", "small-back.c2w"]);
    let [small, back] = ["small.c2w", "small-back.c2w"].map(|name| fs::read(scratch().join(name)).unwrap());
    assert!(small == back);
    c2w_text(&["extract", "small.c2w", "/opt", "-o", "from-small"]);
    assert_eq!(fs::read_to_string(scratch().join("from-small/note")).unwrap(), "from the image\n");
    let digest = c2w_text(&["unpack", "img.c2w", "oci:layouts:plain"]);
    assert_eq!(c2w_text(&["unpack", "small.c2w", "oci:layouts:small"]), digest);
}

#[test]
fn a_certificate_must_be_of_an_authority_that_the_system_trusts() {
    image();
    let registry = Registry::start_with_tls();
    let name = format!("{}/img:v1", registry.1);
    let push = |trusted: &str| {
        let mut command = Command::new(C2W);
        command.args(["push", "img.c2w", &name]).current_dir(scratch()).env("SSL_CERT_FILE", trusted);
        finish(command, b"")
    };
    assert_one_line(&push("/dev/null"), 1, "no secure connection");
    let (status, stdout, stderr) = parts(&push("ca.pem"));
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.starts_with(&format!("{name}@sha256:")), "{stdout}");
}

#[test]
fn bad_input_is_one_line() {
    image();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let pack = |arguments: &[&str]| c2w(&[&["pack"], arguments, &["-o", "never.c2w"]].concat());
    assert_one_line(&pack(&["oci:img:none"]), 1, "img:none: no such tag (there are: t)");
    assert_one_line(&pack(&["oci:nowhere"]), 1, "No such file or directory");
    assert_one_line(&pack(&["./img"]), 2, "write rootfs:./img");
    assert_one_line(&pack(&[&format!("{closed}/x")]), 1, "Connection refused");
    assert_one_line(&pack(&["oci:img:t", "--platform", "linux/riscv64"]), 1, "--platform linux/amd64");
    assert_one_line(&pack(&["oci:img:t", "--platform", "linux/arm64"]), 2, "unknown platform");
    assert_one_line(
        &pack(&["oci:img:t", "--arch", "riscv64", "--platform", "linux/amd64"]),
        1,
        "different machines",
    );
    assert_one_line(&pack(&["oci:img:t", "--max-size", "1M"]), 1, "--max-size");
    assert_one_line(&pack(&["oci:img:t", "--mirror", "ftp://x"]), 2, "REGISTRY");
    assert_one_line(&c2w(&["cat", "img.c2w", "/opt"]), 1, "not a regular file");
    assert_one_line(&c2w(&["cat", "img.c2w", "/none\u{7}"]), 1, "/none\\x07: no such file");
    assert_one_line(&c2w(&["ls", "img.c2w", "/none"]), 1, "no such file");
    assert_one_line(&c2w(&["extract", "img.c2w", "/opt", "-o", "img.c2w/x"]), 1, "img.c2w/x");
    assert_one_line(&c2w(&["unpack", "img.c2w", "back"]), 1, "expected oci:DIR");
    assert_one_line(&c2w(&["push", "img.c2w", &format!("{closed}/x")]), 1, "Connection refused");
    assert_one_line(&c2w(&["push", "upper.tar", &format!("{closed}/x")]), 1, "not a c2w image");
    assert!(!Path::new(&scratch().join("never.c2w")).exists());
}
