//! A proxy between the SDK's HTTP client and DynamoDB that does to real connections what networks do.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::world::endpoint;

/// Longer than one try may take.
pub const LATE: Duration = Duration::from_millis(1500);

/// What becomes of a request and its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// What should.
    Pass,
    /// The connection is reset before DynamoDB has seen the request.
    ResetBefore,
    /// DynamoDB carries the request out, and the connection is reset before the reply.
    ResetAfter,
    /// DynamoDB never sees the request, and no reply ever comes.
    Hang,
    /// DynamoDB carries the request out, and no reply ever comes.
    HangAfter,
    /// DynamoDB carries the request out, and the connection ends in the middle of the reply.
    Cut,
    /// DynamoDB carries the request out, and the reply has the status and no body.
    Empty,
    /// DynamoDB carries the request out, and the reply's body comes byte by byte, slower than anyone waits.
    Drip,
    /// The reply comes late, but in time.
    Slow,
    /// The request reaches DynamoDB when its sender has given up.
    Late,
}

/// Where faults of single requests are to be had: the path is the fault's name.
pub fn by_path() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    // On a thread of its own, since each test's runtime ends with the test.
    URL.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                let named = |path: &str| {
                    use Wire::*;
                    let all = [Pass, ResetBefore, ResetAfter, Hang, HangAfter, Cut, Empty, Drip, Slow, Late];
                    all.into_iter().find(|wire| path == format!("/{wire:?}")).expect("a fault's name")
                };
                sender.send(proxy(named).await.url).expect("a test waits");
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().expect("the proxy starts")
    })
}

/// An address that takes no connection and refuses none, since more wait there than it lets wait.
pub fn unreachable() -> SocketAddr {
    static FULL: OnceLock<(TcpListener, Vec<std::net::TcpStream>)> = OnceLock::new();
    let fill = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let _context = runtime.as_ref().expect("a runtime starts").enter();
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        let listener = socket.listen(1).expect("it listens");
        let address = listener.local_addr().expect("it is bound");
        let patience = Duration::from_millis(100);
        let taken = (0..8).map_while(|_| std::net::TcpStream::connect_timeout(&address, patience).ok());
        let taken: Vec<_> = taken.collect();
        assert!(taken.len() < 8, "it never has enough");
        (listener, taken)
    };
    // On another thread, since a runtime can't start another one.
    let (listener, _) = FULL.get_or_init(|| std::thread::spawn(fill).join().expect("nobody panics in it"));
    listener.local_addr().expect("it is bound")
}

/// A proxy before the tests' DynamoDB.
pub struct Proxy {
    pub url: String,
    /// How many requests have come as far as they come before their fault.
    pub halted: watch::Receiver<usize>,
}

struct Proxied {
    decide: Box<dyn Fn(&str) -> Wire + Send + Sync>,
    halted: watch::Sender<usize>,
}

/// Starts a proxy. `decide` is given each request's path.
pub async fn proxy(decide: impl Fn(&str) -> Wire + Send + Sync + 'static) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let proxied = Arc::new(Proxied { decide: Box::new(decide), halted: watch::Sender::default() });
    let halted = proxied.halted.subscribe();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.expect("it listens");
            let proxied = proxied.clone();
            // Who breaks connections on purpose meets broken ones.
            tokio::spawn(async move { serve(client, &proxied).await.ok() });
        }
    });
    Proxy { url, halted }
}

/// Serves one request, and closes.
async fn serve(mut client: TcpStream, proxied: &Proxied) -> io::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let mut line = head.split(' ');
    let (method, path) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    let wire = (proxied.decide)(path);
    let halted = || proxied.halted.send_modify(|halted| *halted += 1);
    match wire {
        Wire::ResetBefore => return client.set_zero_linger(),
        Wire::Hang => {
            halted();
            return hang(client).await;
        }
        Wire::Late => sleep(LATE).await,
        _ => {}
    }

    let behind = endpoint().strip_prefix("http://").expect("plain HTTP");
    let mut engine = TcpStream::connect(behind).await?;
    let headers = head.split_once("\r\n").expect("a head has lines").1;
    let headers = headers.replace("connection:", "x-connection:");
    let head = format!("{method} / HTTP/1.1\r\nconnection: close\r\n{headers}\r\n\r\n");
    engine.write_all(&[head.as_bytes(), &body].concat()).await?;
    let mut reply = Vec::new();
    engine.read_to_end(&mut reply).await?;
    let end = end_of_head(&reply).expect("a reply has a head");

    match wire {
        Wire::ResetAfter => return client.set_zero_linger(),
        Wire::HangAfter => {
            halted();
            return hang(client).await;
        }
        Wire::Cut => reply.truncate(end + (reply.len() - end) / 2),
        Wire::Empty => {
            let head = String::from_utf8_lossy(&reply[..end]);
            assert!(head.contains("content-length:"), "{head}");
            reply = head.replace("content-length:", "content-length: 0\r\nx-content-length:").into_bytes();
        }
        Wire::Slow => {
            halted();
            sleep(Duration::from_millis(300)).await;
        }
        Wire::Drip => {
            client.write_all(&reply[..end]).await?;
            for byte in &reply[end..] {
                client.write_all(&[*byte]).await?;
                sleep(Duration::from_millis(100)).await;
            }
            return hang(client).await;
        }
        _ => {}
    }
    client.write_all(&reply).await?;
    client.shutdown().await
}

/// Until the other side has had enough.
async fn hang(mut client: TcpStream) -> io::Result<()> {
    client.read(&mut [0]).await.map(drop)
}

/// The request's head, without the empty line, and its body.
pub async fn read_request(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = end_of_head(&bytes) {
            break end;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end - 4]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = bytes.split_off(end);
    while body.len() < length.unwrap_or(0) {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((head, body))
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|start| start + 4)
}
