//! One connection, from the socket to its end: the time a head may take, and an end that costs no sender an answer.
//!
//! hyper closes a connection without a word when a head does not come in time, and resets it when something is left
//! unread. Either costs this sender an hour. So the time of heads is kept here, its end is answered 408 (which clients take
//! for "send it again on another connection"), and a connection is closed for reading only once its sender has
//! closed it or has had time to read what it was told.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::connections::Watch;

/// The longest head, and the most that is read of a body in one piece.
const BUFFER: usize = 16 * 1024;

/// How long a connection that is over is still read from, so that its sender can read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// One of both sides closed it, as HTTP wants it.
    Closed,
    /// The sender is told to come again on another connection.
    Dismissed,
    /// It has to make room at once.
    Evicted,
}

/// How connections are served.
pub(crate) fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(BUFFER);
    http
}

/// Serves one connection. Once `finish` is cancelled it comes to its end after the request under way. Returns `true` if a
/// request was begun and its head never became complete.
pub(crate) async fn serve<S, H, F>(
    stream: S,
    http: &http1::Builder,
    watch: &Arc<Watch>,
    finish: &CancellationToken,
    handle: H,
) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Body>>,
{
    let service = service_fn(|request: Request<Incoming>| {
        watch.head_came(Instant::now());
        let body = |body: Incoming| {
            if body.is_end_stream() {
                watch.body_came();
            }
            Body::new(WatchedBody { body, watch: Arc::clone(watch) })
        };
        let answer = handle(request.map(body));
        async {
            let mut answer = answer.await;
            if watch.waits() {
                // hyper does not receive the rest, and its sender must not take the connection for one to be used again.
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            watch.answered(Instant::now());
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let io = TokioIo::new(WatchedStream { stream, watch: Arc::clone(watch) });
    let mut connection = http.serve_connection(io, service);
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let mut finishing = false;
    let end = loop {
        tokio::select! {
            biased;
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended early");
                }
                break End::Closed;
            }
            () = finish.cancelled(), if !finishing => {
                if watch.is_resting() {
                    break End::Dismissed;
                }
                finishing = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            // It may have got a whole request since it was chosen: then it stays.
            () = watch.evicted() => if watch.waits() { break End::Evicted },
            () = expired(watch, sleep.as_mut()) => break End::Dismissed,
        }
    };
    let dismissed = end != End::Closed && watch.awaits_request();
    let unfinished = dismissed && !watch.is_resting();
    watch.closing(Instant::now());
    let mut stream = connection.into_parts().io.into_inner().stream;
    if dismissed && let Err(error) = dismiss(&mut stream).await {
        tracing::debug!(%error, "a sender could not be told 408");
    }
    if end != End::Evicted {
        tokio::select! {
            () = linger(&mut stream) => {}
            () = watch.evicted() => {}
        }
    }
    unfinished
}

/// Resolves when the sender has had its time.
async fn expired(watch: &Watch, mut sleep: Pin<&mut Sleep>) {
    poll_fn(|context| {
        loop {
            let Some(until) = watch.until() else { return Poll::Pending };
            // A time that has been moved back is found out when the earlier one is over: timers are set only then.
            if until < sleep.deadline() || sleep.is_elapsed() {
                sleep.as_mut().reset(until);
            }
            ready!(sleep.as_mut().poll(context));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
        }
    })
    .await;
}

/// Writes the answer 408 past hyper, which has nothing to say on this connection any more.
async fn dismiss(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let write = async {
        stream.write_all(Answer::ReadTimeout.on_the_wire().as_bytes()).await?;
        stream.flush().await
    };
    tokio::time::timeout(LINGER, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Closes for writing and reads on until the sender has closed too: a connection that is closed with something unread is
/// reset, and the sender may never see the answer.
async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let read = async {
        stream.shutdown().await?;
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // Whatever goes wrong now, the connection is over.
    if let Ok(Err(error)) = tokio::time::timeout(LINGER, read).await {
        tracing::debug!(%error, "closing a connection");
    }
}

/// Tells the watch what comes and goes.
struct WatchedStream<S> {
    stream: S,
    watch: Arc<Watch>,
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.bytes_came(Instant::now());
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
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
        self.watch.flushed(Instant::now());
        Poll::Ready(Ok(()))
    }

    /// hyper is done with it; how it is closed is decided in [`serve`].
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

/// Tells the watch when it is complete.
struct WatchedBody {
    body: Incoming,
    watch: Arc<Watch>,
}

impl hyper::body::Body for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.watch.body_came();
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
