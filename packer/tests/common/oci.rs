//! Images made blob by blob, and a server for them that can be told to misbehave.

use c2w_packer::cache::Cache;
use c2w_packer::oci::{Hasher, Limits, Platform, Quiet, RegistryOptions, Retry};
use c2w_packer::rootfs::{DirectoryOptions, Owners};
use c2w_packer::source::{OpenSource, Source, SourceOptions};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

pub fn digest(bytes: &[u8]) -> String {
    let mut hasher = Hasher::sha256();
    hasher.update(bytes);
    hasher.finish()
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// An image and its blobs by digest.
#[derive(Clone)]
pub struct TestImage {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub manifest: serde_json::Value,
}

impl TestImage {
    /// An amd64 image of uncompressed layers.
    pub fn new(layers: &[Vec<u8>]) -> TestImage {
        let mut image = TestImage { blobs: BTreeMap::new(), manifest: serde_json::Value::Null };
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = image.add(CONFIG, config.to_string().into_bytes());
        let layers: Vec<_> = layers.iter().map(|layer| image.add(GZIP_LAYER, gzip(layer))).collect();
        image.manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        image
    }

    /// Adds a blob and returns its descriptor.
    pub fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> serde_json::Value {
        let descriptor = descriptor(media_type, &bytes);
        self.blobs.insert(digest(&bytes), bytes);
        descriptor
    }

    pub fn manifest_bytes(&self) -> Vec<u8> {
        self.manifest.to_string().into_bytes()
    }

    /// The digest of a layer.
    pub fn layer(&self, number: usize) -> String {
        self.manifest["layers"][number]["digest"].as_str().unwrap().to_string()
    }

    /// Writes a layout with this image, tagged `latest`.
    pub fn write_layout(&self, directory: &Path) {
        let manifest = self.manifest_bytes();
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "latest"});
        let mut blobs = self.blobs.clone();
        blobs.insert(digest(&manifest), manifest);
        write_layout(directory, &blobs, &[entry]);
    }
}

/// Writes a layout.
pub fn write_layout(directory: &Path, blobs: &BTreeMap<String, Vec<u8>>, entries: &[serde_json::Value]) {
    fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
    for (digest, bytes) in blobs {
        fs::write(directory.join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
    }
}

/// How a source is read in a test: nothing is waited for, nothing of the user's is used.
pub fn options(directory: &Path) -> SourceOptions<'static> {
    SourceOptions {
        platform: Platform::of(c2w_packer::image::Arch::X86_64),
        limits: Limits::default(),
        scratch_directory: directory.to_path_buf(),
        registry: RegistryOptions {
            plain_http: true,
            mirrors: Vec::new(),
            retry: Retry { attempts: 4, first_wait: Duration::ZERO },
            credential_files: vec![directory.join("docker/config.json")],
            certificate_directories: vec![directory.join("certs.d")],
        },
        cache: Cache::at(directory.join("cache")),
        watcher: &Quiet,
    }
}

/// The filesystem image of a source, or the error's line.
pub fn read(source: &str, options: &SourceOptions<'_>) -> Result<Vec<u8>, String> {
    let source: Source = source.parse()?;
    let open = OpenSource::open(&source, options).map_err(|error| error.to_string())?;
    let mut failure = None;
    let built = super::build(|tree, store| {
        let directory = DirectoryOptions { owners: Owners::Keep, leave_out: None };
        if let Err(error) = open.apply(tree, store, &directory) {
            failure = Some(error.to_string());
        }
        store.drop_unreachable(tree)
    });
    match failure {
        Some(line) => Err(line),
        None => built.map_err(|error| error.to_string()),
    }
}

/// What a client sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
}

/// What it gets.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection ends after this many bytes of the body.
    pub cut_at: Option<usize>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, body: body.into(), ..Reply::default() }
    }

    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    /// An image's manifests, under any tag, and blobs, under `/v2/x/`.
    pub fn of(image: &TestImage, request: &Request) -> Reply {
        let manifest = image.manifest_bytes();
        let path = request.path.strip_prefix("/v2/x/").unwrap_or_default();
        match path.split_once('/') {
            Some(("manifests", name)) if name == "latest" || name == digest(&manifest) => {
                Reply::new(200, manifest).with("content-type", MANIFEST)
            }
            Some(("blobs", digest)) if image.blobs.contains_key(digest) => {
                Reply::new(200, image.blobs[digest].clone())
            }
            _ => Reply::new(404, r#"{"errors": [{"code": "UNKNOWN", "message": "not here"}]}"#),
        }
    }
}

/// A server on this machine.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts one that answers with `reply`, which is told how many requests for the same path there
    /// were before.
    pub fn start(reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, reply) = (requests.clone(), Arc::new(reply));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, reply) = (seen.clone(), reply.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &*reply));
            }
        });
        Server { address, requests }
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Requests whose path contains `text`.
    pub fn requests_of(&self, text: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path.contains(text)).collect()
    }

    pub fn image(&self) -> String {
        format!("{}/x:latest", self.address)
    }
}

fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    reply: &(dyn Fn(&Request, usize) -> Reply + Send + Sync),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(request) = read_request(&mut reader) else { return };
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.iter().filter(|other| other.path == request.path).count() - 1
    };
    let reply = reply(&request, before);
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
    head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let body = &reply.body[..reply.cut_at.unwrap_or(reply.body.len())];
    let mut stream = &stream;
    // A client that has seen enough is gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let len = headers.get("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    reader.read_exact(&mut vec![0; len]).ok()?;
    Some(Request { method, path, headers })
}
