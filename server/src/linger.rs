//! A request that is answered before its body is over.
//!
//! Invariant: what is left of such a body is read and thrown away for a short while, so that a
//! client that is still sending gets to read the answer. Without this the connection would be
//! reset, and with it goes the answer (RFC 9112, 9.6).

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The longest that is read on.
const LONGEST: Duration = Duration::from_secs(2);
/// A client that pauses for so long has stopped sending.
const PAUSE: Duration = Duration::from_millis(500);

/// A layer for the whole application; requests without a body pass untouched.
pub async fn over_unread_bodies(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|body| Body::from_stream(Lingering(Some(body.into_data_stream()))))
}

/// `None` when the body is over.
struct Lingering(Option<BodyDataStream>);

impl Stream for Lingering {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let next = body.poll_next_unpin(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        next
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let (Some(mut body), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(tokio::time::timeout(LONGEST, async move {
            while let Ok(Some(Ok(_))) = tokio::time::timeout(PAUSE, body.next()).await {}
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use std::io::{Read, Write};
    use std::time::Instant;

    async fn serve() -> std::net::SocketAddr {
        let app = Router::new()
            .route("/refuse", post(|| async { StatusCode::PAYLOAD_TOO_LARGE }))
            .route("/echo", post(|body: Bytes| async move { body.len().to_string() }))
            .layer(axum::middleware::map_request(over_unread_bodies));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        address
    }

    /// Sends `sent` of `claimed` bytes, and reads only then, until the server hangs up.
    async fn ask(address: std::net::SocketAddr, path: &'static str, claimed: usize, sent: usize) -> (String, Duration) {
        tokio::task::spawn_blocking(move || {
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {claimed}\r\n\r\n");
            socket.write_all(head.as_bytes()).unwrap();
            socket.write_all(&vec![b' '; sent]).expect("the server reads on");
            let (mut answer, start) = (Vec::new(), Instant::now());
            let _ = socket.read_to_end(&mut answer);
            (String::from_utf8_lossy(&answer).into_owned(), start.elapsed())
        })
        .await
        .unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_client_that_sends_first_and_reads_later_gets_its_answer() {
        let address = serve().await;
        let (answer, _) = ask(address, "/refuse", 16 << 20, 16 << 20).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        let (answer, _) = ask(address, "/echo", 70_000, 70_000).await;
        assert!(answer.ends_with("70000"), "{answer}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_client_that_never_finishes_is_hung_up_on() {
        let address = serve().await;
        let (answer, waited) = ask(address, "/refuse", 1 << 30, 1 << 20).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(waited < LONGEST * 5, "{waited:?}");
    }
}
