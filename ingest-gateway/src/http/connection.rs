//! Serves one connection from the handshake to its end. It limits the time for request headers, and closes the
//! connection in such a way that no client misses its response.
//!
//! hyper closes a connection without a response if the headers do not arrive in time, and the kernel resets a
//! connection that is closed with unread bytes. In both cases, Customer.io waits an hour. Therefore, this module
//! measures the time for headers and responds with 408, which clients understand as "send it again on another
//! connection". It closes a connection for reading only after the client has closed it or has had time to read the
//! response.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::http::admission::ConnectionState;

/// Maximum size of the request headers and of one piece of a body, in bytes.
const BUFFER: usize = 16 * 1024;

/// Maximum time for which the gateway keeps reading from a connection that has ended. The client needs this time to
/// read the response.
const LINGER: Duration = Duration::from_secs(1);

/// The reason for the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client or the gateway closed the connection according to HTTP.
    Closed,
    /// The connection exceeded its time limit, or was idle at the stop.
    Dismissed,
    /// The connection must be closed at once to make room for another one.
    Evicted,
}

/// Returns the HTTP settings for all connections.
pub(crate) fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(BUFFER);
    http
}

/// Serves one connection. Once `finish` is cancelled, the connection ends after the request in progress. Returns true
/// if the gateway closed the connection after a request had started and before it was received completely.
pub(crate) async fn serve<'c, S, H, F>(
    stream: S,
    http: &http1::Builder,
    state: &'c ConnectionState,
    finish: &CancellationToken,
    handle: H,
) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<TrackedBody<'c>>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| answer(request, state, &handle));
    let io = TokioIo::new(TrackedStream { stream, state });
    let mut connection = Timed::new(http.serve_connection(io, service), state);
    let mut finishing = false;
    let end = loop {
        tokio::select! {
            biased;
            result = &mut connection => match result {
                None => break End::Dismissed,
                Some(result) => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    break End::Closed;
                }
            },
            () = finish.cancelled(), if !finishing => {
                if state.is_idle() {
                    break End::Dismissed;
                }
                finishing = true;
                Pin::new(&mut connection.inner).graceful_shutdown();
            }
            () = state.evicted() => break End::Evicted,
        }
    };
    // The client gets a 408, so that it sends the request again on another connection.
    let dismissed = end != End::Closed && state.awaits_request();
    let unfinished = dismissed && !state.is_idle();
    state.closing(Instant::now());
    let mut stream = connection.inner.into_parts().io.into_inner().stream;
    if dismissed && let Err(error) = dismiss(&mut stream).await {
        tracing::debug!(%error, "the response 408 could not be written");
    }
    if end != End::Evicted {
        tokio::select! {
            () = linger(&mut stream) => {}
            () = state.evicted() => {}
        }
    }
    unfinished
}

/// Passes one request to `handle`, and reports its progress to the connection's state.
async fn answer<'c, H, F>(
    request: Request<Incoming>,
    state: &'c ConnectionState,
    handle: &H,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    H: Fn(Request<TrackedBody<'c>>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    state.head_received(Instant::now());
    if request.body().is_end_stream() {
        state.body_received();
    }
    let mut answer = handle(request.map(|body| TrackedBody { body, state })).await;
    if state.waits() {
        // hyper does not receive the rest of the body, so the client must not reuse the connection.
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    state.answered(Instant::now());
    Ok(answer)
}

/// A connection with the time limit of its phase. Resolves to `None` when the time limit is exceeded.
///
/// The limit is read after each poll of the connection. That is enough, because only the polled connection changes its
/// phase (see [`ConnectionState`]), so a new limit needs no waker.
struct Timed<'c, C> {
    inner: C,
    state: &'c ConnectionState,
    sleep: Pin<Box<Sleep>>,
}

impl<'c, C> Timed<'c, C> {
    fn new(inner: C, state: &'c ConnectionState) -> Self {
        Self { inner, state, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }
}

impl<C: Future + Unpin> Future for Timed<'_, C> {
    type Output = Option<C::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = Pin::new(&mut self.inner).poll(context) {
            return Poll::Ready(Some(output));
        }
        loop {
            let Some(until) = self.state.until() else { return Poll::Pending };
            // If the limit has moved to a later time, the timer is reset only after it has elapsed, because resetting
            // it at each change would cost more.
            if until < self.sleep.deadline() || self.sleep.is_elapsed() {
                self.sleep.as_mut().reset(until);
            }
            ready!(self.sleep.as_mut().poll(context));
            if Instant::now() >= until {
                return Poll::Ready(None);
            }
        }
    }
}

/// Writes the 408 without hyper, which sends nothing on this connection any more.
async fn dismiss(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let write = async {
        stream.write_all(Answer::ReadTimeout.on_the_wire().as_bytes()).await?;
        stream.flush().await
    };
    tokio::time::timeout(LINGER, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Closes the connection for writing and keeps reading until the client has closed it too. Otherwise, the kernel would
/// reset a connection with unread bytes, and the client might never see the response.
async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let read = async {
        stream.shutdown().await?;
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // Errors do not matter any more, because the connection has ended.
    if let Ok(Err(error)) = tokio::time::timeout(LINGER, read).await {
        tracing::debug!(%error, "closing a connection");
    }
}

/// A stream that reports received and flushed bytes to the connection's state.
struct TrackedStream<'c, S> {
    stream: S,
    state: &'c ConnectionState,
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedStream<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.state.bytes_received(Instant::now());
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedStream<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.state.flushed(Instant::now());
        Poll::Ready(Ok(()))
    }

    /// Only flushes the stream: hyper has finished, and [`serve`] decides how to close the connection.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

/// A body that reports to the connection's state when it is complete.
#[derive(Debug)]
pub(crate) struct TrackedBody<'c> {
    body: Incoming,
    state: &'c ConnectionState,
}

impl Body for TrackedBody<'_> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.state.body_received();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
