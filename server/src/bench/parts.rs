//! What measurements are made of: a server of their own, helpers in processes of their own, and what they say.

use super::Failure;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

pub const KEY: &str = "bench";
pub const SECRET: &str = "bench-secret-of-a-server-that-lives-a-minute";

/// Another process of this program, spoken to by lines.
pub struct Helper {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    pub async fn start(words: &[impl AsRef<std::ffi::OsStr>]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bench")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        Ok(Self { child, input, output })
    }

    pub async fn say(&mut self, line: &str) -> Result<(), Failure> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(())
    }

    pub async fn line(&mut self) -> Result<Value, Failure> {
        let line = timeout(Duration::from_secs(200), self.output.next_line()).await??;
        Ok(serde_json::from_str(&line.ok_or("a helper of the benchmark ended early")?)?)
    }

    pub async fn stop(mut self) {
        let _ = self.child.kill().await;
    }
}

/// A server with free ports and a folder of its own.
pub struct Server {
    child: Child,
    pub pid: u32,
    http: u16,
    pub signal: String,
    /// Where it takes media.
    pub media: String,
    /// Of the administrator, once it has signed in.
    token: String,
    folder: PathBuf,
}

impl Server {
    /// With more settings, as environment variables.
    pub async fn start(settings: &[(&str, String)]) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("rongtong-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let free = || -> std::io::Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
        let (http, https, media) = (free()?, free()?, free()?);
        let child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .env("RONGTONG__SERVER__HTTP_LISTEN", format!("127.0.0.1:{http}"))
            .env("RONGTONG__SERVER__HTTPS_LISTEN", format!("127.0.0.1:{https}"))
            .env("RONGTONG__MEDIA__UDP_PORT", media.to_string())
            .env("RONGTONG__MEDIA__TCP_PORT", media.to_string())
            .env("RONGTONG__DATA__DIR", folder.join("data"))
            .env("RONGTONG__LIVEKIT__API_KEY", KEY)
            .env("RONGTONG__LIVEKIT__API_SECRET", SECRET)
            .env("RONGTONG_COUNT_ALLOCATIONS", "1")
            .envs(settings.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log"))?)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or("the server has ended")?;
        let server = Self {
            child,
            pid,
            http,
            signal: format!("ws://127.0.0.1:{http}"),
            media: format!("127.0.0.1:{media}"),
            token: String::new(),
            folder,
        };
        for _ in 0..300 {
            if server.get("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return Ok(server);
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(format!("the server did not become ready; see {}", server.folder.display()).into())
    }

    /// As the administrator whom a fresh server has.
    pub async fn sign_in(&mut self) -> Result<(), Failure> {
        const PASSWORD: &str = "Bench-2026-of-a-minute!";
        let told = std::fs::read_to_string(self.folder.join("data/first-sign-in.txt"))?;
        let once = told
            .lines()
            .find_map(|line| line.split_once("password: ").map(|(_, once)| once))
            .ok_or("no first password")?;
        let body = |password: &str| json!({ "account": "admin", "password": password });
        self.token = text(&self.post("/session", &body(once.trim())).await?, "token")?;
        self.post("/session/password", &json!({ "old_password": once.trim(), "new_password": PASSWORD })).await?;
        self.token = text(&self.post("/session", &body(PASSWORD)).await?, "token")?;
        Ok(())
    }

    /// Asks the REST API; null where it answers nothing.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.http)).await?;
        let body = body.to_string();
        let signed =
            if self.token.is_empty() { String::new() } else { format!("Authorization: Bearer {}\r\n", self.token) };
        let request = format!(
            "POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{signed}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await??;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        if !head.starts_with("HTTP/1.1 2") {
            return Err(format!("{path}: {answer}").into());
        }
        Ok(serde_json::from_str(body).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Result<String, Failure> {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.http)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await??;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    pub fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.folder.join("log")).map_or(0, |file| file.len())
    }

    pub async fn metrics(&self) -> Result<String, Failure> {
        self.get("/metrics").await
    }

    pub async fn stop(mut self) {
        let _ = self.child.kill().await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn text(value: &Value, name: &str) -> Result<String, Failure> {
    Ok(value.get(name).and_then(Value::as_str).ok_or_else(|| format!("{value} has no {name}"))?.to_owned())
}

pub fn number(value: &Value, name: &str) -> f64 {
    value.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// A metric's value, over all its labels.
pub fn metric(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| line.strip_prefix("rongtong_").is_some_and(|line| line.starts_with(name)));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
