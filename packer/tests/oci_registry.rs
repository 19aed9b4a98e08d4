//! A real registry, and images made by other programs: what becomes of them is compared with what
//! those programs unpack themselves.

mod common;

use c2w_packer::cache::Cache;
use c2w_packer::oci::{BlobCache, Descriptor, MediaType, Quiet, Reference, Repository};
use c2w_packer::source::SourceOptions;
use c2w_packer::toolchain::oci_tools;
use common::oci::{TestImage, digest, options, read};
use common::{Archive, Listing, assert_same, list, list_directory};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::{TempDir, tempdir};

/// `user` with the password `secret`, as htpasswd writes it.
const HTPASSWD: &str = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// Runs a tool to its end.
#[track_caller]
fn run(directory: &Path, program: &str, arguments: &[&str]) -> String {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| oci_tools(&Cache::of_user().unwrap()).unwrap());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    // Their state stays in the directory, too.
    command.env("XDG_RUNTIME_DIR", directory).env("HOME", directory);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A registry that ends with the value.
struct Registry {
    process: Child,
    address: String,
    directory: TempDir,
}

impl Registry {
    fn start(with_password: bool) -> Registry {
        Registry::start_with(with_password, false)
    }

    /// With TLS it has a certificate of the authority in `ca.crt`.
    fn start_with(with_password: bool, with_tls: bool) -> Registry {
        let directory = tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let place = directory.path().display();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {place}/data}}}}\n\
             http: {{addr: \"{address}\"}}\n"
        );
        if with_tls {
            let openssl = |arguments: &str| {
                run(directory.path(), "openssl", &arguments.split(' ').collect::<Vec<_>>());
            };
            openssl(
                "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=authority -days 3650",
            );
            openssl("req -newkey rsa:2048 -nodes -keyout key -out csr -subj /CN=server");
            fs::write(directory.path().join("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
            openssl(
                "x509 -req -in csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile ext -out pem",
            );
            let tls = format!("      tls: {{certificate: {place}/pem, key: {place}/key}}}}\n");
            config = config.replace("\"}\n", &format!("\",\n{tls}"));
        }
        if with_password {
            fs::write(directory.path().join("htpasswd"), HTPASSWD).unwrap();
            config.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {place}/htpasswd}}}}\n"));
        }
        fs::write(directory.path().join("config.yml"), config).unwrap();
        run(directory.path(), "docker-registry", &["--version"]);
        let process = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..600 {
            if TcpStream::connect(&address).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Registry { process, address, directory }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Everything that layers can say.
fn layers() -> Vec<Vec<u8>> {
    let long = "n".repeat(200);
    let deep = format!("deep/{}", [&"p".repeat(90)[..]; 4].join("/"));
    let mut setuid = Archive::header(b'0', b"bin/su", b"");
    setuid.set_mode(0o4755);
    setuid.set_uid(1234);
    setuid.set_gid(2_000_000);
    let mut null = Archive::header(b'3', b"dev/null", b"");
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    // cap_net_raw=ep (linux/capability.h, VFS_CAP_REVISION_2).
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let lower = Archive::new()
        .directory("bin")
        .append(setuid, b"#!")
        .pax(&[("SCHILY.xattr.security.capability", &capability[..]), ("SCHILY.xattr.user.note", b"a\0b")])
        .file("bin/ping", "#!")
        .directory("dev")
        .append(null, b"")
        .append(Archive::header(b'6', b"dev/pipe", b""), b"")
        .directory("opaque")
        .file("opaque/old", "old")
        .directory("opaque/deeper")
        .file("opaque/deeper/old", "old")
        .directory("gone")
        .file("gone/x", "x")
        .file("file", "will be a directory")
        .directory("directory")
        .file("directory/x", "will be a file")
        .symlink("lib", "usr/lib")
        .directory("usr")
        .directory("usr/lib")
        .file("usr/lib/libc", "c")
        .file("linked", "shared")
        .append(Archive::header(b'0', b"latin-\xe9", b""), b"not UTF-8")
        .pax(&[("path", long.as_bytes())])
        .file("short", "a long name")
        .pax(&[("path", deep.as_bytes()), ("mtime", b"1600000000.5")])
        .file("short", "a long path");
    let middle = Archive::new()
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "new")
        .file(".wh.gone", "")
        .file(".wh.file", "")
        .directory("file")
        .file("file/x", "x")
        .file(".wh.directory", "")
        .file("directory", "a file now")
        .hard_link("link", "linked")
        .file("twice", "1")
        .file("twice", "2");
    let upper =
        Archive::new().hard_link("usr/lib/third", "link").file(".wh.linked", "").file("lib/added", "1");
    vec![lower.finish(), middle.finish(), upper.finish()]
}

/// A layout of the layers, made by umoci.
fn umoci_layout(directory: &Path, layers: &[Vec<u8>]) {
    run(directory, "umoci", &["init", "--layout", "img"]);
    run(directory, "umoci", &["new", "--image", "img:t"]);
    for (number, layer) in layers.iter().enumerate() {
        let name = format!("layer{number}.tar");
        fs::write(directory.join(&name), layer).unwrap();
        run(directory, "umoci", &["raw", "add-layer", "--image", "img:t", &name]);
    }
    run(directory, "umoci", &["config", "--image", "img:t", "--architecture", "amd64", "--os", "linux"]);
}

/// Times of directories are left out: unpacking into a directory changes its time, and not every
/// program sets it back.
fn comparable(listing: Listing) -> Listing {
    listing
        .into_iter()
        .map(|(path, mut record)| {
            if record.nlink == 0 {
                record.mtime = Default::default();
            }
            (path, record)
        })
        .collect()
}

#[test]
fn a_layout_of_umoci_becomes_what_umoci_unpacks() {
    let directory = tempdir().unwrap();
    umoci_layout(directory.path(), &layers());
    let source = format!("oci:{}/img:t", directory.path().display());
    let ours = read(&source, &options(directory.path())).unwrap();
    run(directory.path(), "umoci", &["unpack", "--image", "img:t", "bundle"]);
    let theirs = list_directory(&directory.path().join("bundle/rootfs"));
    assert!(theirs.len() > 20);
    assert_same(&comparable(list(&ours)), &comparable(theirs));
}

#[test]
fn every_way_to_an_image_gives_the_same_bytes() {
    let (registry, directory) = (Registry::start(false), tempdir().unwrap());
    umoci_layout(directory.path(), &layers());
    let place = directory.path().display();
    let copy = |from: &str, to: &str, more: &[&str]| {
        let arguments = ["copy", "--dest-tls-verify=false", "--src-tls-verify=false"];
        run(directory.path(), "skopeo", &[&arguments[..], more, &[from, to]].concat());
    };
    let address = &registry.address;
    copy("oci:img:t", &format!("docker://{address}/a/x:oci"), &[]);
    copy("oci:img:t", &format!("docker://{address}/a/x:docker"), &["--format", "v2s2"]);
    copy("oci:img:t", &format!("docker://{address}/a/x:zstd"), &["--dest-compress-format", "zstd"]);
    copy("oci:img:t", "oci-archive:img.tar:t", &[]);
    copy("oci:img:t", "docker-archive:docker.tar:n/x:t", &[]);
    let digest = run(
        directory.path(),
        "skopeo",
        &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{address}/a/x:oci")],
    );
    let options = options(directory.path());
    let expected = read(&format!("oci:{place}/img:t"), &options).unwrap();
    for source in [
        format!("{address}/a/x:oci"),
        format!("{address}/a/x:docker"),
        format!("{address}/a/x:zstd"),
        format!("{address}/a/x@{}", digest.trim()),
        format!("docker://{}/a/x:oci", address.replace("127.0.0.1", "localhost")),
        format!("oci-archive:{place}/img.tar"),
        format!("docker-archive:{place}/docker.tar"),
    ] {
        // Without --plain-http, as a user would say it.
        let mut options = options.clone();
        options.registry.plain_http = false;
        assert!(read(&source, &options).unwrap() == expected, "{source}");
    }
    assert_eq!(
        read(&format!("{address}/a/x:none"), &options).map(drop).unwrap_err(),
        format!("{address}/a/x:none: {address} has no a/x:none")
    );
}

#[test]
fn an_image_built_by_buildah_becomes_what_skopeo_and_umoci_make_of_it() {
    let (registry, directory) = (Registry::start(false), tempdir().unwrap());
    let rootfs = c2w_packer::demo::rootfs(c2w_packer::image::Arch::X86_64, &|_| {}).unwrap();
    fs::copy(rootfs, directory.path().join("base.tar")).unwrap();
    let containerfile = "FROM scratch\nADD base.tar /\n\
        RUN mkdir /a && echo 1 > /a/f && ln /a/f /a/g && chown 7:8 /a/f && chmod 2755 /a\n\
        RUN rm /a/f && rm -r /usr/lib/os-release && ln -s a /link && mv /etc/issue /a/h && echo 2 >> /a/g\n\
        RUN rm -r /a && mkdir /a && echo 3 > /a/new && rm -rf /var && echo x > /var\n\
        ENV FLAVOUR=plain\nWORKDIR /a\nUSER 7:8\nEXPOSE 80\nVOLUME /v\nLABEL l=v\nSTOPSIGNAL SIGINT\n\
        ENTRYPOINT [\"sh\", \"-c\"]\nCMD [\"cat new\"]\n";
    fs::write(directory.path().join("Containerfile"), containerfile).unwrap();
    let storage = ["--root", "storage", "--runroot", "run", "--storage-driver", "vfs"];
    let buildah = |arguments: &[&str]| run(directory.path(), "buildah", &[&storage[..], arguments].concat());
    buildah(&["bud", "--layers", "--isolation", "chroot", "-t", "x", "."]);
    let image = format!("{}/x:b", registry.address);
    buildah(&["push", "--tls-verify=false", "x", &format!("docker://{image}")]);
    let options = options(directory.path());
    let ours = read(&image, &options).unwrap();
    run(
        directory.path(),
        "skopeo",
        &["copy", "--src-tls-verify=false", &format!("docker://{image}"), "oci:img:b"],
    );
    run(directory.path(), "umoci", &["unpack", "--image", "img:b", "bundle"]);
    let ours = list(&ours);
    assert!(
        ours.contains_key(&b"a/new"[..]) && !ours.contains_key(&b"a/g"[..]),
        "the layers were not applied"
    );
    let theirs = list_directory(&directory.path().join("bundle/rootfs"));
    assert_same(&comparable(ours), &comparable(theirs));
    assert_eq!(config(&image, &options), CONFIG_OF_BUILDAH);
}

const CONFIG_OF_BUILDAH: &str = concat!(
    r#"["sh"|"-c"] ["cat new"] ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"|"FLAVOUR=plain"] "#,
    r#""/a" 7:8 SIGINT 80/tcp /v l"#
);

/// The configuration of an image in one line.
fn config(source: &str, options: &SourceOptions<'_>) -> String {
    let open = c2w_packer::source::OpenSource::open(&source.parse().unwrap(), options).unwrap();
    let config = open.config();
    let words = |list: &[c2w_packer::image::ByteString]| {
        format!("[{}]", list.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join("|"))
    };
    let keys = |keys: Vec<&String>| keys.iter().map(|key| key.as_str()).collect::<Vec<_>>().join("|");
    format!(
        "{} {} {} {:?} {} {} {} {} {}",
        words(&config.entrypoint),
        words(&config.cmd),
        words(&config.env),
        config.working_dir,
        config.user,
        config.stop_signal,
        keys(config.exposed_ports.keys().collect()),
        keys(config.volumes.keys().collect()),
        keys(config.labels.keys().filter(|key| !key.starts_with("io.buildah")).collect()),
    )
}

/// The certificate of an authority is trusted when it lies where docker and podman look for it.
#[test]
fn a_registry_with_a_certificate_of_its_own_is_trusted_when_the_user_says_so() {
    let (registry, directory) = (Registry::start_with(false, true), tempdir().unwrap());
    let image = TestImage::new(&[Archive::new().file("f", "x").finish()]);
    image.write_layout(&directory.path().join("img"));
    let name = format!("{}/x:latest", registry.address);
    let place = format!("docker://{name}");
    run(directory.path(), "skopeo", &["copy", "--dest-tls-verify=false", "oci:img:latest", &place]);
    let mut options = options(directory.path());
    options.registry.plain_http = false;
    let line = read(&name, &options).map(drop).unwrap_err();
    assert!(line.contains("no secure connection") && line.contains("certificate"), "{line}");
    let trusted = directory.path().join("certs.d").join(&registry.address);
    fs::create_dir_all(&trusted).unwrap();
    fs::copy(registry.directory.path().join("ca.crt"), trusted.join("ca.crt")).unwrap();
    read(&name, &options).unwrap();
    fs::write(trusted.join("ca.crt"), "nonsense").unwrap();
    let line = read(&name, &options).map(drop).unwrap_err();
    assert!(line.ends_with("ca.crt: no certificate in PEM form"), "{line}");
}

#[test]
fn a_registry_with_a_password_lets_in_who_has_it() {
    let (registry, directory) = (Registry::start(true), tempdir().unwrap());
    let image = TestImage::new(&[Archive::new().file("f", "x").finish()]);
    image.write_layout(&directory.path().join("img"));
    let name = format!("{}/x:latest", registry.address);
    run(
        directory.path(),
        "skopeo",
        &[
            "copy",
            "--dest-tls-verify=false",
            "--dest-creds",
            "user:secret",
            "oci:img:latest",
            &format!("docker://{name}"),
        ],
    );
    let options = options(directory.path());
    let line = read(&name, &options).map(drop).unwrap_err();
    assert!(line.contains("it wants credentials"), "{line}");
    log_in(directory.path(), &registry.address, "dXNlcjp3cm9uZw==");
    let line = read(&name, &options).map(drop).unwrap_err();
    assert!(line.contains("the user's credentials for it are refused"), "{line}");
    log_in(directory.path(), &registry.address, "dXNlcjpzZWNyZXQ=");
    read(&name, &options).unwrap();

    // What is put into it comes back.
    let reference = Reference::from_str(&name.replace("latest", "pushed")).unwrap();
    let cache = || BlobCache::new(Cache::at(directory.path().join("other")));
    let repository = Repository::new(&reference, &options.registry, cache(), &Quiet).unwrap();
    for (digest, bytes) in &image.blobs {
        let path = directory.path().join("blob");
        fs::write(&path, bytes).unwrap();
        let descriptor = descriptor_of(digest, bytes.len() as u64);
        for _ in 0..2 {
            repository.push_blob(&descriptor, &fs::File::open(&path).unwrap()).unwrap();
        }
    }
    repository.push_manifest("pushed", &MediaType::ImageManifest, &image.manifest_bytes()).unwrap();
    let found = repository.find(&reference).unwrap();
    assert_eq!(found.digest().to_string(), digest(&image.manifest_bytes()));
    read(&reference.to_string(), &options).unwrap();
}

fn descriptor_of(digest: &str, len_bytes: u64) -> Descriptor {
    Descriptor::new(MediaType::ImageLayerGzip, len_bytes, c2w_packer::oci::Digest::from_str(digest).unwrap())
}

fn log_in(directory: &Path, host: &str, auth: &str) -> PathBuf {
    let path = directory.join("docker/config.json");
    fs::create_dir_all(directory.join("docker")).unwrap();
    fs::write(&path, format!(r#"{{"auths": {{"{host}": {{"auth": "{auth}"}}}}}}"#)).unwrap();
    path
}
