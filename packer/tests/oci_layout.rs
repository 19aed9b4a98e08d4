//! Images in layouts and archives on disk: what they become, and what is said of those that are
//! wrong.

mod common;

use c2w_packer::image::Arch;
use c2w_packer::oci::Platform;
use common::oci::{
    CONFIG, GZIP_LAYER, INDEX, MANIFEST, TestImage, descriptor, digest, gzip, options, read, write_layout,
};
use common::{Archive, list, outline};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

fn file(content: &str) -> Vec<u8> {
    Archive::new().file("f", content).finish()
}

/// What becomes of a source, the directory's name left out.
fn outcome(directory: &TempDir, source: &str) -> String {
    let place = format!("{}/", directory.path().display());
    let source = source.replace("DIR/", &place);
    match read(&source, &options(directory.path())) {
        Ok(image) => outline(&image),
        Err(line) => {
            assert!(!line.contains('\n'), "{line}");
            line.replace(&place, "")
        }
    }
}

#[test]
fn every_form_of_an_image_gives_the_same_bytes() {
    let directory = tempdir().unwrap();
    let layers = [file("lower"), Archive::new().directory("d").hard_link("d/g", "f").finish()];
    let image = TestImage::new(&layers);
    image.write_layout(&directory.path().join("img"));
    let archive = |name: &str, paths: &[&str]| {
        let mut tar = tar::Builder::new(Vec::new());
        for path in paths {
            tar.append_dir_all(path, directory.path().join("img").join(path)).unwrap();
        }
        for name in ["oci-layout", "index.json"] {
            tar.append_path_with_name(directory.path().join("img").join(name), name).unwrap();
        }
        fs::write(directory.path().join(name), tar.into_inner().unwrap()).unwrap();
    };
    archive("img.tar", &["blobs"]);
    let tar = fs::read(directory.path().join("img.tar")).unwrap();
    fs::write(directory.path().join("img.tgz"), gzip(&tar)).unwrap();
    fs::write(directory.path().join("docker.tar"), docker_archive(&image, &layers)).unwrap();
    let config = image.manifest["config"]["digest"].as_str().unwrap();
    assert!(image.blobs.contains_key(config));
    let by_digest = format!("oci:DIR/img@{}", digest(&image.manifest_bytes()));
    let sources = [
        "oci:DIR/img",
        "oci:DIR/img:latest",
        &by_digest,
        "oci-archive:DIR/img.tar",
        "oci-archive:DIR/img.tgz:latest",
        "docker-archive:DIR/docker.tar",
        "docker-archive:DIR/docker.tar:1",
        "docker-archive:DIR/docker.tar:r/n:1",
    ];
    let place = format!("{}/", directory.path().display());
    let images: Vec<Vec<u8>> = sources
        .iter()
        .map(|source| read(&source.replace("DIR/", &place), &options(directory.path())).expect(source))
        .collect();
    assert_eq!(outline(&images[0]), "d d\nf d/g lower\nf f lower");
    for (source, image) in sources.iter().zip(&images) {
        assert!(*image == images[0], "{source}");
    }
}

/// As `docker save` wrote archives before it took up layouts: a layer in a directory of its own, one
/// that appears again as a link.
fn docker_archive(image: &TestImage, layers: &[Vec<u8>]) -> Vec<u8> {
    let config = image.manifest["config"]["digest"].as_str().unwrap();
    let mut archive = Archive::new();
    for (number, layer) in layers.iter().enumerate() {
        let header = Archive::header(b'0', format!("real{number}/layer.tar").as_bytes(), b"");
        archive = archive.append(header, layer);
        archive = archive.symlink(&format!("l{number}/layer.tar"), &format!("../real{number}/layer.tar"));
    }
    let list = serde_json::json!([{
        "Config": "config.json", "RepoTags": ["r/n:1"], "Layers": ["l0/layer.tar", "l1/layer.tar"],
    }]);
    let config = String::from_utf8(image.blobs[config].clone()).unwrap();
    archive.file("config.json", &config).file("manifest.json", &list.to_string()).finish()
}

#[test]
fn an_index_is_searched_for_the_platform() {
    let directory = tempdir().unwrap();
    let mut blobs = BTreeMap::new();
    let mut entry = |architecture: &str, content: &str| {
        let mut image = TestImage::new(&[file(content)]);
        let config = image.manifest["config"]["digest"].as_str().unwrap().to_string();
        let text = String::from_utf8(image.blobs.remove(&config).unwrap()).unwrap();
        image.manifest["config"] = image.add(CONFIG, text.replace("amd64", architecture).into_bytes());
        blobs.extend(image.blobs.clone());
        let manifest = image.manifest_bytes();
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        blobs.insert(digest(&manifest), manifest);
        entry
    };
    let entries = [entry("arm64", "arm"), entry("riscv64", "risc"), entry("amd64", "amd")];
    let inner = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string();
    let outer = descriptor(INDEX, inner.as_bytes());
    blobs.insert(digest(inner.as_bytes()), inner.into_bytes());
    write_layout(&directory.path().join("nested"), &blobs, &[outer]);
    write_layout(&directory.path().join("flat"), &blobs, &entries);
    write_layout(&directory.path().join("arm"), &blobs, &entries[..1]);
    write_layout(&directory.path().join("risc"), &blobs, &entries[1..2]);
    write_layout(&directory.path().join("both"), &blobs, &entries[..2]);

    let for_riscv = |name: &str| {
        let mut options = options(directory.path());
        options.platform = Platform::of(Arch::Riscv64);
        let source = format!("oci:{}", directory.path().join(name).display());
        outline(&read(&source, &options).unwrap())
    };
    for name in ["nested", "flat"] {
        assert_eq!(outcome(&directory, &format!("oci:DIR/{name}")), "f f amd");
        assert_eq!(for_riscv(name), "f f risc");
    }
    assert_eq!(
        outcome(&directory, "oci:DIR/arm"),
        "arm: no image for linux/amd64 (it is for linux/arm64); c2w has machines for linux/amd64 and linux/riscv64"
    );
    assert_eq!(
        outcome(&directory, "oci:DIR/risc"),
        "risc: no image for linux/amd64 (it is for linux/riscv64); --platform linux/riscv64 makes a machine that runs it"
    );
    assert_eq!(
        outcome(&directory, "oci:DIR/both"),
        "both: no image for linux/amd64 (it is for linux/arm64, linux/riscv64); --platform linux/riscv64 makes a \
         machine that runs it"
    );
}

#[test]
fn mistakes_are_one_line() {
    let directory = tempdir().unwrap();
    let image = TestImage::new(&[file("x"), file("y")]);
    let layer = image.layer(1);
    let at = |name: &str| directory.path().join(name);
    let blob = |name: &str| at(name).join("blobs").join(layer.replace(':', "/"));
    let changed = |name: &str, change: &dyn Fn(&Path)| {
        image.write_layout(&at(name));
        change(&at(name));
    };
    changed("missing", &|_| fs::remove_file(blob("missing")).unwrap());
    changed("tampered", &|_| {
        let mut bytes = fs::read(blob("tampered")).unwrap();
        let last = bytes.len() - 12;
        bytes[last] ^= 4;
        fs::write(blob("tampered"), bytes).unwrap();
    });
    changed("longer", &|_| {
        let bytes = [&fs::read(blob("longer")).unwrap()[..], b"more"].concat();
        fs::write(blob("longer"), bytes).unwrap();
    });
    changed("cut", &|_| {
        let bytes = fs::read(blob("cut")).unwrap();
        fs::write(blob("cut"), &bytes[..bytes.len() - 1]).unwrap();
    });
    changed("version", &|path| {
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion": "2.0.0"}"#).unwrap();
    });
    changed("html", &|path| fs::write(path.join("index.json"), "<html>").unwrap());
    changed("fifo", &|path| {
        let config = image.manifest["config"]["digest"].as_str().unwrap();
        let path = path.join("blobs").join(config.replace(':', "/"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
    });
    fs::create_dir(at("empty")).unwrap();
    write_layout(&at("none"), &BTreeMap::new(), &[]);
    fs::write(at("text"), "no archive").unwrap();
    fs::write(at("root.tar"), file("x")).unwrap();

    let mut other_ids = image.clone();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer, layer]},
    });
    other_ids.manifest["config"] = other_ids.add(CONFIG, config.to_string().into_bytes());
    other_ids.write_layout(&at("ids"));
    let lower = gzip(&file("x"));
    let unpacked = digest(&file("x"));

    // An index that leads to itself cannot be made, but a chain of them can.
    let mut blobs = BTreeMap::new();
    let mut entry = descriptor(MANIFEST, b"{}");
    for _ in 0..6 {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        entry = descriptor(INDEX, index.as_bytes());
        blobs.insert(digest(index.as_bytes()), index.into_bytes());
    }
    write_layout(&at("chain"), &blobs, &[entry]);

    for (source, expected) in [
        ("oci:DIR/nowhere", "nowhere: No such file or directory (os error 2)".to_string()),
        ("oci:DIR/text", "text: not a directory; write oci-archive: for an archive of a layout".to_string()),
        ("oci:DIR/empty", "empty: not an OCI image layout: it has no oci-layout".to_string()),
        ("oci:DIR/none", "none: the layout is empty".to_string()),
        ("oci:DIR/missing:v1", "missing:v1: no such tag (there are: latest)".to_string()),
        ("oci:DIR/missing", format!("missing: blob {layer} is missing")),
        ("oci:DIR/version", "version: OCI image layout of version 2.0.0, only 1.x is read".to_string()),
        ("oci:DIR/html", "html: malformed manifest: expected value at line 1 column 1".to_string()),
        (
            "oci:DIR/cut",
            format!("cut: layer 2 of 2 has {} bytes instead of {}", lower.len() - 1, lower.len()),
        ),
        (
            "oci:DIR/longer",
            format!("longer: layer 2 of 2 has {} bytes instead of {}", lower.len() + 1, lower.len()),
        ),
        (
            "oci:DIR/ids",
            format!(
                "ids: layer 1 of 2, unpacked, does not match its digest: {layer} was promised, {unpacked} is there"
            ),
        ),
        ("oci:DIR/chain", "chain: malformed index: more than 4 indexes inside of each other".to_string()),
        ("oci-archive:DIR/text", "text: not a tar archive, or a damaged one".to_string()),
        ("oci-archive:DIR/root.tar", "root.tar: not an OCI image layout: it has no oci-layout".to_string()),
        (
            "docker-archive:DIR/root.tar",
            "root.tar: not an archive of docker's: it has no manifest.json".to_string(),
        ),
    ] {
        assert_eq!(outcome(&directory, source), expected);
    }
    let line = outcome(&directory, "oci:DIR/tampered");
    assert!(
        line.starts_with(&format!("tampered: layer 2 of 2 does not match its digest: {layer} was promised")),
        "{line}"
    );
    let line = outcome(&directory, "oci:DIR/fifo");
    assert!(line.ends_with(": not a regular file"), "{line}");
}

#[test]
fn several_images_are_told_apart_by_their_tags() {
    let directory = tempdir().unwrap();
    let mut blobs = BTreeMap::new();
    let entries: Vec<_> = [("v1", "one"), ("registry.example/x:v2", "two")]
        .map(|(tag, content)| {
            let image = TestImage::new(&[file(content)]);
            blobs.extend(image.blobs.clone());
            let mut entry = descriptor(MANIFEST, &image.manifest_bytes());
            blobs.insert(digest(&image.manifest_bytes()), image.manifest_bytes());
            entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": tag});
            entry
        })
        .to_vec();
    write_layout(&directory.path().join("img"), &blobs, &entries);
    for (source, expected) in [
        ("oci:DIR/img:v1", "f f one"),
        ("oci:DIR/img:v2", "f f two"),
        ("oci:DIR/img", "img: several images, name one by its tag (there are: v1, registry.example/x:v2)"),
    ] {
        assert_eq!(outcome(&directory, source), expected);
    }
}

/// Layers over each other, with the outline that they must give.
#[test]
fn layers_are_applied_in_order() {
    let base = || {
        Archive::new()
            .directory("d")
            .file("d/a", "a")
            .file("d/b", "b")
            .directory("d/e")
            .file("d/e/x", "x")
            .file("f", "f")
            .symlink("l", "d")
    };
    let base_outline = "d d\nf d/a a\nf d/b b\nd d/e\nf d/e/x x\nf f f\nl l -> d";
    let cases: Vec<(&str, Archive, String)> = vec![
        ("nothing", Archive::new(), base_outline.to_string()),
        ("whiteout of a file", Archive::new().file("d/.wh.a", ""), base_outline.replace("f d/a a\n", "")),
        ("whiteout of a directory", Archive::new().file(".wh.d", ""), "f f f\nl l -> d".to_string()),
        ("whiteout of nothing", Archive::new().file("q/.wh.a", ""), base_outline.to_string()),
        (
            "opaque directory, before its new content",
            Archive::new().file("d/.wh..wh..opq", "").file("d/n", "n"),
            "d d\nf d/n n\nf f f\nl l -> d".to_string(),
        ),
        (
            "opaque directory, after its new content",
            Archive::new().file("d/n", "n").file("d/.wh..wh..opq", ""),
            "d d\nf d/n n\nf f f\nl l -> d".to_string(),
        ),
        (
            "whiteout of a directory that this layer has filled",
            Archive::new().file("d/n", "n").file(".wh.d", ""),
            "d d\nf d/n n\nf f f\nl l -> d".to_string(),
        ),
        ("a file over a directory", Archive::new().file("d", "D"), "f d D\nf f f\nl l -> d".to_string()),
        (
            "a directory over a file",
            Archive::new().directory("f").file("f/g", "g"),
            base_outline.replace("f f f", "d f\nf f/g g"),
        ),
        (
            "a directory over a link",
            Archive::new().directory("l").file("l/g", "g"),
            base_outline.replace("l l -> d", "d l\nf l/g g"),
        ),
        (
            "a file below a link",
            Archive::new().file("l/g", "g"),
            base_outline.replace("f f f", "f d/g g\nf f f"),
        ),
        (
            "a hard link into a lower layer, whose name goes",
            Archive::new().hard_link("g", "f").file(".wh.f", ""),
            base_outline.replace("f f f", "f g f"),
        ),
        (
            "a hard link into a lower layer, opaque",
            Archive::new().hard_link("d/g", "f").file("d/.wh..wh..opq", ""),
            "d d\nf d/g f\nf f f\nl l -> d".to_string(),
        ),
        (
            "the same name twice",
            Archive::new().file("f", "1").file("f", "2"),
            base_outline.replace("f f f", "f f 2"),
        ),
    ];
    let directory = tempdir().unwrap();
    for (name, upper, expected) in cases {
        let mut layer = upper.finish();
        if layer.is_empty() {
            layer = vec![0; 1024];
        }
        let path = directory.path().join(name);
        TestImage::new(&[base().finish(), layer]).write_layout(&path);
        assert_eq!(outcome(&directory, &format!("oci:DIR/{name}")), expected, "{name}");
    }
}

#[test]
fn hostile_layers_stay_in_the_image() {
    let directory = tempdir().unwrap();
    for (name, layer, expected) in [
        ("absolute", Archive::new().file("/etc/x", "1"), "d etc\nf etc/x 1"),
        ("dots", Archive::new().file("../../etc/x", "1"), "d etc\nf etc/x 1"),
        ("through a link", Archive::new().symlink("l", "/").file("l/x", "1"), "l l -> /\nf x 1"),
        ("through dots", Archive::new().symlink("l", "../../..").file("l/x", "1"), "l l -> ../../..\nf x 1"),
        (
            "hard link out",
            Archive::new().hard_link("h", "../../etc/passwd"),
            "hard link out: layer 1 of 1, LAYER: entry h: hard link to ../../etc/passwd, which is not there",
        ),
        (
            "whiteout of the root",
            Archive::new().file(".wh...", ""),
            "whiteout of the root: layer 1 of 1, LAYER: entry .wh...: a whiteout of no name",
        ),
        (
            "links in a circle",
            Archive::new().symlink("a", "b").symlink("b", "a").file("a/x", ""),
            "links in a circle: layer 1 of 1, LAYER: entry a/x: the path leads through too many symbolic links",
        ),
    ] {
        let image = TestImage::new(&[layer.finish()]);
        image.write_layout(&directory.path().join(name));
        let found = outcome(&directory, &format!("oci:DIR/{name}")).replace(&image.layer(0), "LAYER");
        assert_eq!(found, expected, "{name}");
    }
    assert!(!Path::new("/x").exists());
}

#[test]
fn what_layers_remove_is_not_in_the_image() {
    let directory = tempdir().unwrap();
    let secret = "secret".repeat(20_000);
    let big = "b".repeat(1_500_000);
    let lower = Archive::new().file("secret", &secret).file("kept", &big).file("old", &secret);
    let upper = Archive::new().file(".wh.secret", "").file("old", "new").file("z", &big);
    let zstd =
        |tar: &[u8]| ruzstd::encoding::compress_to_vec(tar, ruzstd::encoding::CompressionLevel::Fastest);
    let mut image = TestImage::new(&[lower.finish(), upper.finish()]);
    // The second layer in the other compression.
    let layer = zstd(&Archive::new().file(".wh.secret", "").file("old", "new").file("z", &big).finish());
    image.manifest["layers"][1] = image.add(&GZIP_LAYER.replace("gzip", "zstd"), layer);
    image.write_layout(&directory.path().join("img"));
    let source = format!("oci:{}", directory.path().join("img").display());
    let built = read(&source, &options(directory.path())).unwrap();
    assert!(!built.windows(12).any(|window| window == b"secretsecret"));
    assert!(built.len() < 2 * big.len() + 100_000, "{}", built.len());
    let listing = list(&built);
    assert!(listing[&b"kept"[..]].content == big.as_bytes() && listing[&b"z"[..]].content == big.as_bytes());
    assert_eq!(listing[&b"old"[..]].content, b"new");
}
