//! Requests to a server: certificates and proxies of the system, time limits, and another try after
//! errors that pass.

use crate::oci::error::{OciError, plain};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Error};

/// Longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that says nothing for so long is as good as gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Of an error's text, so much is looked at.
const MAX_ERROR_BYTES: u64 = 16 << 10;

/// How often something that failed is tried again, and after how long.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Tries in all.
    pub attempts: u32,
    /// Wait before the second; doubled before each later one.
    pub first_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { attempts: 6, first_wait: Duration::from_millis(500) }
    }
}

impl Retry {
    /// Waits before another try. `number` counts the tries so far; `asked` is what the server wants.
    pub(super) fn wait(&self, number: u32, asked: Option<Duration>) {
        let own = self.first_wait.saturating_mul(1 << number.saturating_sub(1).min(16));
        std::thread::sleep(asked.unwrap_or(own).min(LONGEST_WAIT));
    }
}

/// An agent for requests, which trusts these certificates besides the system's. To this machine itself no proxy leads.
pub(super) fn agent(is_this_machine: bool, trusted: Vec<Certificate<'static>>) -> Agent {
    let roots = if trusted.is_empty() {
        RootCerts::PlatformVerifier
    } else {
        // What of the system's cannot be read is not trusted.
        let of_system = rustls_native_certs::load_native_certs().certs;
        let of_system = of_system.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
        RootCerts::Specific(Arc::new(of_system.chain(trusted).collect()))
    };
    let tls = TlsConfig::builder().root_certs(roots).build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("c2w/", env!("CARGO_PKG_VERSION")))
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(SILENCE_TIMEOUT))
        .timeout_per_read(Some(SILENCE_TIMEOUT))
        .tls_config(tls);
    let config = if is_this_machine { config.proxy(None) } else { config };
    config.build().into()
}

/// Sends a request until it gets an answer that is not about a passing state of the server.
///
/// # Errors
/// [`OciError::Connection`] when no try got one.
pub(super) fn send(
    host: &str,
    retry: Retry,
    request: &mut dyn FnMut() -> Result<Response<Body>, Error>,
) -> Result<Response<Body>, OciError> {
    let mut number = 1;
    loop {
        match request() {
            Ok(response) if number < retry.attempts && passes(response.status().as_u16()) => {
                retry.wait(number, retry_after(&response));
            }
            Ok(response) => return Ok(response),
            Err(error) if number < retry.attempts && may_pass(&error) => retry.wait(number, None),
            Err(error) => return Err(connection_error(host, &error)),
        }
        number += 1;
    }
}

/// Statuses of a server that is busy or being restarted.
fn passes(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?;
    // Also a date is allowed; then the usual wait has to do.
    value.trim().parse().ok().map(Duration::from_secs)
}

fn may_pass(error: &Error) -> bool {
    match error {
        // A port or a certificate that is wrong does not become right.
        Error::Io(error) => {
            !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidData)
        }
        Error::Timeout(_) | Error::Protocol(_) | Error::ConnectionFailed => true,
        _ => false,
    }
}

/// A transport error in one line that says what to do where that is known.
pub(super) fn connection_error(host: &str, error: &Error) -> OciError {
    let problem = match error {
        Error::HostNotFound => "no such host".to_string(),
        Error::Timeout(_) => "it does not answer".to_string(),
        error if is_tls_error(error) => {
            let text = error.to_string();
            // What a server without TLS sends is no record of it.
            let speaks_plain = text.contains("InvalidContentType");
            let hint = if speaks_plain { "; if it speaks plain HTTP, say --plain-http" } else { "" };
            format!("no secure connection: {}{hint}", text.trim_start_matches("io: "))
        }
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    OciError::Connection { host: plain(host), problem: plain(&problem) }
}

/// Whether TLS, rather than the network, is what failed: rustls's errors come as invalid data.
fn is_tls_error(error: &Error) -> bool {
    match error {
        Error::Rustls(_) | Error::Tls(_) => true,
        Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// Whether a server speaks TLS, but shows a certificate that is not to be trusted.
pub(super) fn is_certificate_error(error: &Error) -> bool {
    is_tls_error(error) && error.to_string().contains("certificate")
}

/// What an answer that is an error says: the registry's own words if there are any.
pub(super) fn error_text(response: Response<Body>) -> String {
    let mut body = Vec::new();
    // The status alone has to do otherwise.
    let _ = response.into_body().into_reader().take(MAX_ERROR_BYTES).read_to_end(&mut body);
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(&body) else { return String::new() };
    let first = &json["errors"][0];
    let text = |value: &serde_json::Value| value.as_str().map(plain).unwrap_or_default();
    match (text(&first["code"]), text(&first["message"])) {
        (code, message) if code.is_empty() || message.is_empty() => [code, message].concat(),
        (code, message) => format!("{code}: {message}"),
    }
}
