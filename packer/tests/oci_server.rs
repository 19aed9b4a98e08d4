//! Images from a server that does what servers do on bad days. Nothing is waited for: the client is
//! told to try again at once.

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use c2w_packer::oci::Limits;
use common::oci::{Reply, Request, Server, TestImage, digest, options, read};
use common::{Archive, outline};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::tempdir;

/// Two layers; the first does not compress, so that its transfer can be cut anywhere.
fn image() -> TestImage {
    let mut noise = 1u32;
    let content: String = (0..200_000)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b' ' + (noise >> 24) as u8 % 90)
        })
        .collect();
    let lower = Archive::new().file("big", &content).file("gone", "x").file("kept", "1").finish();
    let upper = Archive::new().file(".wh.gone", "").file("kept", "2").finish();
    TestImage::new(&[lower, upper])
}

/// What the image of [`image`] must become.
#[track_caller]
fn assert_whole(built: Result<Vec<u8>, String>) {
    let outline = outline(&built.unwrap());
    let names: Vec<&str> = outline.lines().map(|line| &line[..6.min(line.len())]).collect();
    assert_eq!(names, ["f big ", "f kept"]);
    assert!(outline.ends_with("f kept 2"));
}

/// Reads the image from a server and returns what came of it, with the server's name left out.
fn outcome(server: &Server) -> Result<Vec<u8>, String> {
    let directory = tempdir().unwrap();
    read(&server.image(), &options(directory.path())).map_err(|line| line.replace(&server.address, "HOST"))
}

fn error(reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> String {
    let line = outcome(&Server::start(reply)).map(drop).unwrap_err();
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn an_image_comes_by_tag_and_by_digest() {
    let (directory, image) = (tempdir().unwrap(), image());
    let served = image.clone();
    let server = Server::start(move |request, _| Reply::of(&served, request));
    let options = options(directory.path());
    assert_whole(read(&server.image(), &options));
    let by_digest = format!("{}/x@{}", server.address, digest(&image.manifest_bytes()));
    assert_whole(read(&by_digest, &options));
    // Both layers and the configuration once; the second time they are in the cache.
    assert_eq!(server.requests_of("/blobs/").len(), 3);
    assert!(server.requests_of("/manifests/")[0].headers["accept"].contains("manifest.list.v2"));
}

#[test]
fn what_passes_is_tried_again() {
    for status in [429, 500, 502, 503] {
        let image = image();
        let server = Server::start(move |request, before| match before {
            0 | 1 => Reply::new(status, "busy").with("retry-after", "0"),
            _ => Reply::of(&image, request),
        });
        assert_whole(outcome(&server));
        assert_eq!(server.requests_of("/manifests/").len(), 3);
    }
    let server = Server::start(|_, _| Reply::new(503, "down"));
    assert_eq!(
        outcome(&server).map(drop).unwrap_err(),
        "HOST/x:latest: HOST answers 503 (an error of its own)"
    );
    assert_eq!(server.requests().len(), 4, "it is tried as often as was asked for");
}

#[test]
fn a_broken_transfer_is_resumed() {
    let image = image();
    let layer = image.layer(0);
    let bytes = image.blobs[&layer].clone();
    let (third, path) = (bytes.len() / 3, layer.clone());
    let server = Server::start(move |request, before| {
        if !request.path.contains(&path) {
            return Reply::of(&image, request);
        }
        let start = before * third;
        let range = request.headers.get("range").cloned();
        assert_eq!(range, (before > 0).then(|| format!("bytes={start}-")));
        let rest = bytes[start..].to_vec();
        let cut_at = Some(if before < 2 { third } else { rest.len() });
        let content_range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
        let status = if before == 0 { 200 } else { 206 };
        Reply { cut_at, ..Reply::new(status, rest).with("content-range", &content_range) }
    });
    assert_whole(outcome(&server));
    assert_eq!(server.requests_of(&layer).len(), 3);
}

#[test]
fn a_server_that_knows_no_ranges_is_asked_from_the_start() {
    for status in [200, 206, 416] {
        let image = image();
        let layer = image.layer(0);
        let server = Server::start(move |request, before| {
            let reply = Reply::of(&image, request);
            match (request.path.contains(&layer), before) {
                (true, 0) => Reply { cut_at: Some(1000), ..reply },
                (true, 1) => Reply { status, ..reply },
                _ => reply,
            }
        });
        assert_whole(outcome(&server));
    }
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_was_broken_off() {
    let (directory, image) = (tempdir().unwrap(), image());
    let layer = image.layer(0);
    let bytes = image.blobs[&layer].clone();
    for (left, expected) in [(&bytes[..1000], Some("bytes=1000-")), (b"damaged", Some("bytes=7-"))] {
        let part = directory.path().join("cache/blobs").join(format!("{}.part", layer.replace(':', "/")));
        let _ = fs::remove_dir_all(directory.path().join("cache"));
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::write(&part, left).unwrap();
        let (served, path) = (image.clone(), layer.clone());
        let server = Server::start(move |request, _| {
            let reply = Reply::of(&served, request);
            let start = request.headers.get("range").and_then(|range| range[6..].strip_suffix('-'));
            match start.filter(|_| request.path.contains(&path)).and_then(|start| start.parse::<usize>().ok())
            {
                Some(start) => {
                    let range = format!("bytes {start}-{}/{}", reply.body.len() - 1, reply.body.len());
                    Reply::new(206, &reply.body[start..]).with("content-range", &range)
                }
                None => reply,
            }
        });
        assert_whole(read(&server.image(), &options(directory.path())));
        let first = &server.requests_of(&layer)[0];
        assert_eq!(first.headers.get("range").map(String::as_str), expected);
    }
}

#[test]
fn content_that_is_not_what_was_promised_is_refused() {
    let image = image();
    let layer = image.layer(0);
    let mut tampered = image.blobs[&layer].clone();
    let last = tampered.len() - 1;
    tampered[last / 2] ^= 1;
    let actual = digest(&tampered);
    let (directory, served, path) = (tempdir().unwrap(), image.clone(), layer.clone());
    let server = Server::start(move |request, _| match request.path.contains(&path) {
        true => Reply::new(200, tampered.clone()),
        false => Reply::of(&served, request),
    });
    let line = read(&server.image(), &options(directory.path())).map(drop).unwrap_err();
    let host = &server.address;
    assert_eq!(
        line,
        format!(
            "{host}/x:latest: what {host} sends does not match its digest: {layer} was promised, {actual} is there"
        )
    );
    let blobs = directory.path().join("cache/blobs/sha256");
    assert!(!blobs.join(&layer[7..]).exists(), "a blob that is not what its name says is in the cache");
    assert_eq!(fs::metadata(blobs.join(format!("{}.part", &layer[7..]))).unwrap().len(), 0);

    let wrong = format!("{host}/x@{actual}");
    let served = image.clone();
    let server = Server::start(move |request, _| {
        let path = "/v2/x/manifests/latest".to_string();
        let is_manifest = request.path.contains("/manifests/");
        Reply::of(&served, &if is_manifest { Request { path, ..request.clone() } } else { request.clone() })
    });
    let line = read(&wrong.replace(host, &server.address), &options(directory.path())).map(drop).unwrap_err();
    assert!(line.contains("the manifest does not match its digest"), "{line}");
}

#[test]
fn lies_about_lengths_are_refused() {
    for change in [1i64, -1] {
        let mut image = image();
        let layer = image.layer(0);
        let len = image.blobs[&layer].len() as i64;
        image.manifest["layers"][0]["size"] = serde_json::json!(len + change);
        let line = error(move |request, _| Reply::of(&image, request));
        let expected = match change {
            1 => format!("HOST/x:latest: HOST: the transfer of {layer} breaks off: unexpected end of file"),
            _ => format!("HOST/x:latest: what HOST sends has {len} bytes instead of {}", len - 1),
        };
        assert_eq!(line, expected);
    }
}

#[test]
fn mistakes_are_one_line() {
    let served = image();
    let of = |status: u16, body: &'static str| error(move |_, _| Reply::new(status, body));
    assert_eq!(of(404, ""), "HOST/x:latest: HOST has no x:latest");
    assert_eq!(
        of(403, r#"{"errors": [{"code": "DENIED", "message": "no\u001b[31m way"}]}"#),
        "HOST/x:latest: HOST answers 403 (access denied): DENIED: no [31m way"
    );
    assert_eq!(of(418, "<html>"), "HOST/x:latest: HOST answers 418");
    // After as many tries as there are.
    assert_eq!(of(429, ""), "HOST/x:latest: HOST answers 429 (too many requests)");
    assert_eq!(of(503, "<html>"), "HOST/x:latest: HOST answers 503 (an error of its own)");
    assert_eq!(
        error(|_, _| Reply::new(200, "<html>").with("content-type", "text/html; charset=utf-8")),
        "HOST/x:latest: malformed manifest: expected value at line 1 column 1"
    );
    let missing = served.layer(1);
    let image = served.clone();
    let line = error(move |request, _| match request.path.contains(&missing) {
        true => Reply::new(404, ""),
        false => Reply::of(&image, request),
    });
    assert_eq!(line, format!("HOST/x:latest: blob {} is missing", served.layer(1)));
    let mut image = served.clone();
    image.manifest["layers"][0]["mediaType"] = "application/x-squashfs".into();
    let line = error(move |request, _| Reply::of(&image, request));
    assert_eq!(line, "HOST/x:latest: unsupported media type \"application/x-squashfs\" of the layer");

    let directory = tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = read(&format!("{closed}/x"), &options(directory.path())).map(drop).unwrap_err();
    assert_eq!(line, format!("{closed}/x:latest: {closed}: Connection refused (os error 111)"));
    let line = read("registry.invalid/x", &options(directory.path())).map(drop).unwrap_err();
    assert!(line.starts_with("registry.invalid/x:latest: registry.invalid: "), "{line}");
}

#[test]
fn layers_beyond_the_limit_are_not_even_fetched() {
    let directory = tempdir().unwrap();
    let served = image();
    let server = Server::start(move |request, _| Reply::of(&served, request));
    let mut small = options(directory.path());
    small.limits = Limits { unpacked_bytes: 100_000 };
    let layer = image().layer(0);
    assert_eq!(
        read(&server.image(), &small).map(drop).unwrap_err(),
        format!("{}: layer {layer} is larger than 100000 bytes; --max-size sets the limit", server.image())
    );
    assert!(server.requests_of(&layer).is_empty());
    // What is small as stored may be large unpacked.
    let bomb = TestImage::new(&[Archive::new().file("zeros", &"0".repeat(3_000_000)).finish()]);
    let layer = bomb.layer(0);
    let server = Server::start(move |request, _| Reply::of(&bomb, request));
    small.limits = Limits { unpacked_bytes: 1_000_000 };
    assert_eq!(
        read(&server.image(), &small).map(drop).unwrap_err(),
        format!(
            "{}: layer 1 of 1, {layer}: it unpacks to more than is allowed; --max-size sets the limit",
            server.image()
        )
    );
}

/// Docker's configuration with credentials for `host`.
fn log_in(directory: &Path, host: &str, user: &str) {
    let auth = STANDARD.encode(format!("{user}:secret"));
    fs::create_dir_all(directory.join("docker")).unwrap();
    let config = format!(r#"{{"auths": {{"{host}": {{"auth": "{auth}"}}}}}}"#);
    fs::write(directory.join("docker/config.json"), config).unwrap();
}

#[test]
fn basic_authorization_is_given_when_asked_for() {
    let image = image();
    let wanted = format!("Basic {}", STANDARD.encode("user:secret"));
    let server = Server::start(move |request, _| match request.headers.get("authorization") {
        Some(given) if *given == wanted => Reply::of(&image, request),
        _ => Reply::new(401, "").with("www-authenticate", "Basic realm=\"r\""),
    });
    let directory = tempdir().unwrap();
    let options = options(directory.path());
    let image = server.image();
    assert_eq!(
        read(&image, &options).map(drop).unwrap_err(),
        format!(
            "{image}: {}: it wants credentials, and the user has none for it (docker login, podman login), or there \
             is no such image",
            server.address
        )
    );
    log_in(directory.path(), &server.address, "other");
    assert_eq!(
        read(&image, &options).map(drop).unwrap_err(),
        format!(
            "{image}: {}: the user's credentials for it are refused, or there is no such image",
            server.address
        )
    );
    log_in(directory.path(), &server.address, "user");
    assert_whole(read(&image, &options));
}

#[test]
fn tokens_are_fetched_where_the_server_says() {
    let image = image();
    let basic = format!("Basic {}", STANDARD.encode("user:secret"));
    let server = Server::start(move |request, before| {
        let host = &request.headers["host"];
        let authorization = request.headers.get("authorization");
        if request.path.starts_with("/token") {
            assert_eq!(request.path, "/token?service=s%20v&scope=repository%3Ax%3Apull");
            assert_eq!(authorization, Some(&basic));
            return Reply::new(200, format!(r#"{{"token": "t{before}"}}"#));
        }
        match authorization.map(String::as_str) {
            // The first token is taken back at once, as if it had expired.
            Some("Bearer t0") if request.path.contains("/manifests/") => Reply::of(&image, request),
            Some("Bearer t1" | "Bearer t2" | "Bearer t3") => Reply::of(&image, request),
            _ => Reply::new(401, "").with(
                "www-authenticate",
                &format!(r#"Bearer realm="http://{host}/token",service="s v",scope="repository:x:pull""#),
            ),
        }
    });
    let directory = tempdir().unwrap();
    log_in(directory.path(), &server.address, "user");
    assert_whole(read(&server.image(), &options(directory.path())));
    assert!(server.requests_of("/token").len() >= 2);
}

#[test]
fn a_token_is_not_shown_to_another_server() {
    let image = image();
    let blobs = image.clone();
    let store = Server::start(move |request, _| {
        assert_eq!(request.headers.get("authorization"), None, "the store was shown a token");
        Reply::of(&blobs, request)
    });
    // Another name of this machine is another host to a client.
    let elsewhere = store.address.replace("127.0.0.1", "localhost");
    let server = Server::start(move |request, _| match request.headers.get("authorization") {
        None => Reply::new(401, "").with("www-authenticate", "Basic"),
        Some(_) if request.path.contains("/blobs/") => {
            Reply::new(307, "").with("location", &format!("http://{elsewhere}{}", request.path))
        }
        Some(_) => Reply::of(&image, request),
    });
    let directory = tempdir().unwrap();
    log_in(directory.path(), &server.address, "user");
    assert_whole(read(&server.image(), &options(directory.path())));
    assert_eq!(store.requests().len(), 3);
}

#[test]
fn a_mirror_is_asked_first_and_may_fail() {
    let served = image();
    let server = Server::start(move |request, _| Reply::of(&served, request));
    let served = image();
    let mirror = Server::start(move |request, _| match request.path.strip_prefix("/cache") {
        Some(path) if path.contains("/manifests/") => {
            Reply::of(&served, &Request { path: path.to_string(), ..request.clone() })
        }
        _ => Reply::new(404, ""),
    });
    let directory = tempdir().unwrap();
    let mut options = options(directory.path());
    options.registry.mirrors =
        vec![format!("{}=http://{}/cache", server.address, mirror.address).parse().unwrap()];
    assert_whole(read(&server.image(), &options));
    assert_eq!(server.requests_of("/manifests/").len(), 0);
    assert_eq!(server.requests_of("/blobs/").len(), 3);
    assert_eq!(mirror.requests_of("/blobs/").len(), 3);
}

#[test]
fn this_machine_may_speak_plain_http_without_being_told() {
    let image = image();
    let server = Server::start(move |request, _| Reply::of(&image, request));
    let directory = tempdir().unwrap();
    let mut options = options(directory.path());
    options.registry.plain_http = false;
    assert_whole(read(&server.image(), &options));
}

/// The file size limit stands in for a full disk.
#[test]
fn a_full_disk_is_said_and_does_not_stay_full() {
    const LIMITED: &str = "C2W_TEST_IN_LIMITED_PROCESS";
    if std::env::var_os(LIMITED).is_none() {
        let test = std::env::current_exe().unwrap();
        let script =
            "trap '' XFSZ; ulimit -f 100; exec \"$0\" --exact a_full_disk_is_said_and_does_not_stay_full";
        // Through pipes: the limit holds for a log file as well, if that is where this process writes.
        let limited = Command::new("sh").arg("-c").arg(script).arg(test).env(LIMITED, "1").output().unwrap();
        assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stdout));
        return;
    }
    let image = image();
    let layer = image.layer(0);
    let server = Server::start(move |request, _| Reply::of(&image, request));
    let directory = tempdir().unwrap();
    let line = read(&server.image(), &options(directory.path())).map(drop).unwrap_err();
    let blobs = directory.path().join("cache/blobs/sha256");
    assert!(line.ends_with("cannot write a blob in the cache: File too large (os error 27)"), "{line}");
    assert_eq!(fs::metadata(blobs.join(format!("{}.part", &layer[7..]))).unwrap().len(), 0);
}
