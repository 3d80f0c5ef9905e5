//! Connections of HTTP clients: how many there may be, and how long each may take over what it sends and is sent.
//!
//! Those beyond the limit wait at the listener until another one ends; those beyond what one origin may have are closed. What
//! a request says is none of this module's business, but for the one slash too many that a path may end with.

use super::elsewhere::PassedClient;
use super::places::Places;
use crate::tls::{Renewable, handshake_failure};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

/// The longest head of a request, in bytes: the longest path there is, of names that are percent-encoded, is a tenth of it.
const HEAD_MAX_BYTES: usize = 64 << 10;
/// What a client has to take of an answer in the time that it has for a part of it, in bytes: one that takes less holds what
/// it was to be sent for no good.
const TAKEN_AT_LEAST: usize = 16 << 10;
/// How long accepting rests when the system refuses it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections_max: usize,
    /// The largest body of a request.
    pub body_max_bytes: usize,
    /// For the head of a request, for its body, and for any part of the answer to be taken.
    pub timeout: Duration,
    /// How long somebody who logged in at the page is let in by the cookie.
    pub session: Duration,
}

/// What a request came over that came over TLS.
#[derive(Clone, Copy)]
pub struct OverTls;

/// Where clients come from.
pub enum Source {
    Listener(TcpListener),
    /// Other nodes.
    Passed(mpsc::Receiver<PassedClient>),
}

impl From<TcpListener> for Source {
    fn from(listener: TcpListener) -> Self {
        Self::Listener(listener)
    }
}

impl From<mpsc::Receiver<PassedClient>> for Source {
    fn from(passed: mpsc::Receiver<PassedClient>) -> Self {
        Self::Passed(passed)
    }
}

impl Source {
    /// The next client, and whether it came over TLS where it came from. `None`: there will be none any more.
    async fn next(&mut self) -> Option<io::Result<(TcpStream, SocketAddr, Option<OverTls>)>> {
        match self {
            Self::Listener(listener) => Some(listener.accept().await.map(|(stream, peer)| (stream, peer, None))),
            Self::Passed(passed) => {
                let PassedClient { stream, peer, over_tls } = passed.recv().await?;
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                Some(stream.map(|stream| (stream, peer, over_tls.then_some(OverTls))))
            }
        }
    }
}

/// Accepts clients and answers them, as long as the runtime runs; over TLS, if it is told what handshakes are made with. They
/// are made on this thread, which the loop does not wait for, and each has the time that the head of a request has.
pub async fn serve(mut source: Source, tls: Option<Arc<Renewable>>, routes: Router, limits: Limits) -> io::Result<()> {
    let places = Places::new(limits.connections_max);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.timeout).max_buf_size(HEAD_MAX_BYTES);
    loop {
        let place = places.vacant().await.map_err(io::Error::other)?;
        let (stream, peer, over_tls) = match source.next().await {
            None => return Ok(()),
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                tracing::warn!(target: "management", "accepting failed: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.give(place, peer.ip()) else {
            tracing::debug!(target: "management", "{peer}: turned away: too many come from there");
            continue;
        };
        let routes = routes.clone();
        let over_tls = over_tls.or(tls.as_ref().map(|_| OverTls));
        let answer = service_fn(move |request| routes.clone().call(prepared(request, peer, over_tls)));
        let stream = Patient::new(stream, limits.timeout);
        let Some(tls) = &tls else {
            let connection = http.serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(target: "management", "{peer}: {error}");
                }
                drop(place);
            });
            continue;
        };
        let (acceptor, http) = (TlsAcceptor::from(tls.current().config()), http.clone());
        tokio::spawn(async move {
            let shaken = tokio::time::timeout(limits.timeout, acceptor.accept(stream)).await;
            match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
                        tracing::debug!(target: "management", "{peer}: {error}");
                    }
                }
                Err(error) => {
                    let why = handshake_failure(&error);
                    tracing::warn!(target: "management", "{peer}: TLS handshake failed: {why}");
                }
            }
            drop(place);
        });
    }
}

/// A request as the routes take it.
fn prepared(request: hyper::Request<Incoming>, peer: SocketAddr, over_tls: Option<OverTls>) -> hyper::Request<Body> {
    let mut request = request.map(Body::new);
    if let Some(uri) = without_last_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    over_tls.map(|over_tls| request.extensions_mut().insert(over_tls));
    request
}

/// `/api/queues/` is `/api/queues`: every path may end with one slash too many. `None` where nothing is to be changed.
fn without_last_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/').filter(|path| !path.is_empty())?;
    let text = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

/// A client's stream, which fails when the client takes too little of what is sent for too long.
struct Patient<S> {
    stream: S,
    patience: Duration,
    /// When, from the first time that the client was waited for.
    gives_up: Option<Pin<Box<Sleep>>>,
    /// What it has taken since, in bytes.
    taken: usize,
}

impl<S> Patient<S> {
    fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, gives_up: None, taken: 0 }
    }

    fn wait(&mut self, sent: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match sent {
            Poll::Ready(Ok(count)) => {
                self.taken += count;
                if self.taken >= TAKEN_AT_LEAST {
                    self.rest();
                }
                sent
            }
            Poll::Ready(Err(_)) => sent,
            Poll::Pending => {
                let patience = self.patience;
                let gives_up = self.gives_up.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                gives_up.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Nothing is waited for.
    fn rest(&mut self) {
        (self.gives_up, self.taken) = (None, 0);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wait(sent, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wait(sent, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // All that there was to send is with the system.
        self.rest();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// A client that takes a byte whenever it was waited for.
    #[derive(Default)]
    struct Dripping {
        was_waited_for: bool,
    }

    impl AsyncWrite for Dripping {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            self.was_waited_for = !self.was_waited_for;
            if self.was_waited_for {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(1))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_client_that_takes_an_answer_in_drops_is_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut stream = Patient::new(Dripping::default(), Duration::ZERO);
            for _ in 0..TAKEN_AT_LEAST {
                let written = poll_fn(|context| Pin::new(&mut stream).poll_write(context, b"an answer")).await;
                if let Err(error) = written {
                    return assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                }
            }
            panic!("it may go on for ever");
        });
    }

    #[test]
    fn a_path_may_end_with_one_slash_too_many() {
        let stripped = |uri: &str| without_last_slash(&uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(stripped("/api/queues/").as_deref(), Some("/api/queues"));
        assert_eq!(stripped("/api/queues/%2F/?page=1").as_deref(), Some("/api/queues/%2F?page=1"));
        assert_eq!(stripped("/api/queues//").as_deref(), Some("/api/queues/"), "one, and no more");
        assert_eq!(stripped("http://h/api/queues/").as_deref(), Some("http://h/api/queues"));
        for unchanged in ["/", "/api/queues", "/api/queues/%2F", "/api/queues?name=a/"] {
            assert_eq!(stripped(unchanged), None, "{unchanged}");
        }
    }
}
