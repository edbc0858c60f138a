//! Accepts the connections of an HTTP server.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Accepts connections until `stop` is cancelled and spawns `serve` for each, with the address of its client. At most
/// `limit` connections are open: at the limit, the oldest one is closed, because its client has usually received its
/// response already.
///
/// Returns the connections that are still open; the listener is closed.
pub async fn accept<S, F>(listener: TcpListener, limit: usize, stop: &CancellationToken, mut serve: S) -> JoinSet<()>
where
    S: FnMut(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return tasks,
            accepted = listener.accept() => accepted,
        };
        while tasks.try_join_next().is_some() {}
        open.retain(|task| !task.is_finished());
        match accepted {
            Ok((stream, client)) => {
                if open.len() >= limit
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                open.push_back(tasks.spawn(serve(stream, client)));
            }
            // Most likely, the process has no free file descriptors. Meanwhile, connections wait in the listener's
            // queue.
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Sends each byte back to the client.
    async fn echo(mut stream: TcpStream, _: SocketAddr) {
        while let Ok(byte) = stream.read_u8().await {
            if stream.write_u8(byte).await.is_err() {
                return;
            }
        }
    }

    async fn answers(client: &mut TcpStream) -> bool {
        client.write_u8(7).await.is_ok() && client.read_u8().await.is_ok_and(|byte| byte == 7)
    }

    #[tokio::test]
    async fn at_the_limit_the_oldest_open_connection_is_closed_and_a_stop_leaves_the_others_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let server = tokio::spawn(async move { accept(listener, 2, &stopped, echo).await });
        // Each client is served before the next one connects.
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = TcpStream::connect(address).await.unwrap();
            assert!(answers(&mut client).await);
            clients.push(client);
        }
        // A connection that has ended does not count towards the limit.
        let mut ended = clients.remove(0);
        ended.shutdown().await.unwrap();
        assert!(ended.read_u8().await.is_err(), "the server has closed the connection");
        for _ in 0..2 {
            let mut client = TcpStream::connect(address).await.unwrap();
            assert!(answers(&mut client).await);
            clients.push(client);
        }
        let mut served = Vec::new();
        for client in &mut clients {
            served.push(answers(client).await);
        }
        assert_eq!(served, [false, true, true], "the oldest connection is closed");
        stop.cancel();
        let open = server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
        assert!(answers(&mut clients[2]).await);
        drop(open);
        assert!(!answers(&mut clients[2]).await);
    }
}
