//! A proxy in front of DynamoDB that breaks connections as networks do.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use testing::dynamodb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// What happens to a request and its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFault {
    /// No fault.
    Pass,
    /// The connection is reset before DynamoDB has seen the request.
    ResetBefore,
    /// DynamoDB executes the request, and the connection is reset before the reply.
    ResetAfter,
    /// DynamoDB never sees the request, and no reply comes.
    Hang,
    /// DynamoDB executes the request, and no reply comes.
    HangAfter,
    /// DynamoDB executes the request, and the connection ends in the middle of the reply.
    Cut,
    /// DynamoDB executes the request, and the reply has a status but no body.
    Empty,
    /// DynamoDB executes the request, and the reply's body comes byte by byte, too slowly for any client.
    Drip,
    /// The reply comes 300 ms late, which is still in time.
    Slow,
}

/// The requests to [`by_path`] that DynamoDB has not executed yet, by the number in their path.
static UNEXECUTED: Mutex<BTreeMap<u64, watch::Receiver<()>>> = Mutex::new(BTreeMap::new());

/// Gives a number to a request that will go through [`by_path`]. `until_executed` is dropped when DynamoDB has executed
/// the request.
pub fn register(until_executed: watch::Receiver<()>) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    UNEXECUTED.lock().expect("no test panics with it").insert(number, until_executed);
    number
}

/// Notes that the request with this number is executed, or never will be.
pub fn unregister(number: u64) {
    UNEXECUTED.lock().expect("no test panics with it").remove(&number);
}

/// The URL of a proxy that takes the fault from the path of each request: its name, and the number from [`register`] if
/// there is one.
pub fn by_path() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    // The proxy has a thread of its own, because the runtime of a single test ends with the test.
    URL.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                let named = |path: &str, _: &[u8]| {
                    use ConnectionFault::*;
                    let all = [Pass, ResetBefore, ResetAfter, Hang, HangAfter, Cut, Empty, Drip, Slow];
                    let name = path.split('/').nth(1).expect("a path has a name");
                    all.into_iter().find(|fault| name == format!("{fault:?}")).expect("a fault's name")
                };
                sender.send(proxy(named).await.url).expect("a test waits");
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().expect("the proxy starts")
    })
}

/// An address that neither accepts nor refuses a connection: the backlog of its listener is full.
pub fn unreachable_address() -> SocketAddr {
    static FULL: OnceLock<(TcpListener, Vec<std::net::TcpStream>)> = OnceLock::new();
    let fill = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let _context = runtime.as_ref().expect("a runtime starts").enter();
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        let listener = socket.listen(1).expect("it listens");
        let address = listener.local_addr().expect("it is bound");
        let timeout = Duration::from_millis(100);
        let connections = (0..8).map_while(|_| std::net::TcpStream::connect_timeout(&address, timeout).ok());
        let connections: Vec<_> = connections.collect();
        assert!(connections.len() < 8, "the backlog is never full");
        (listener, connections)
    };
    // Another thread is needed, because a runtime cannot be started inside another one.
    let (listener, _) = FULL.get_or_init(|| std::thread::spawn(fill).join().expect("it does not panic"));
    listener.local_addr().expect("it is bound")
}

/// A running proxy.
pub struct Proxy {
    pub url: String,
    /// How many requests have reached the point where they hang or wait.
    pub halted: watch::Receiver<usize>,
    /// The number of open connections.
    open: watch::Receiver<usize>,
}

impl Proxy {
    /// Waits until the sender has closed all connections, and DynamoDB has executed what they have sent.
    pub async fn idle(&mut self) {
        // The proxy may have to accept a connection yet.
        sleep(Duration::from_millis(50)).await;
        self.open.wait_for(|open| *open == 0).await.expect("the proxy runs");
    }
}

/// Chooses the fault of a request by its path and its body.
type ChooseFault = Box<dyn Fn(&str, &[u8]) -> ConnectionFault + Send + Sync>;

struct Shared {
    choose_fault: ChooseFault,
    halted: watch::Sender<usize>,
    open: watch::Sender<usize>,
}

/// Starts a proxy. `choose_fault` is called with the path and the body of each request.
pub async fn proxy(choose_fault: impl Fn(&str, &[u8]) -> ConnectionFault + Send + Sync + 'static) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let shared = Arc::new(Shared {
        choose_fault: Box::new(choose_fault),
        halted: watch::Sender::default(),
        open: watch::Sender::default(),
    });
    let (halted, open) = (shared.halted.subscribe(), shared.open.subscribe());
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.expect("it listens");
            let shared = shared.clone();
            shared.open.send_modify(|open| *open += 1);
            tokio::spawn(async move {
                // Errors are expected, since the proxy breaks connections itself.
                serve(client, &shared).await.ok();
                shared.open.send_modify(|open| *open -= 1);
            });
        }
    });
    Proxy { url, halted, open }
}

/// Serves one request, and closes the connection.
async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let mut line = head.split(' ');
    let (method, path) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    let fault = (shared.choose_fault)(path, &body);
    let halted = || shared.halted.send_modify(|halted| *halted += 1);
    match fault {
        ConnectionFault::ResetBefore => return client.set_zero_linger(),
        ConnectionFault::Hang => {
            halted();
            return hang(client).await;
        }
        _ => {}
    }

    let mut engine = TcpStream::connect(dynamodb::address()).await?;
    let headers = head.split_once("\r\n").expect("a head has lines").1;
    let headers = headers.replace("connection:", "x-connection:");
    let head = format!("{method} / HTTP/1.1\r\nconnection: close\r\n{headers}\r\n\r\n");
    engine.write_all(&[head.as_bytes(), &body].concat()).await?;
    let mut reply = Vec::new();
    engine.read_to_end(&mut reply).await?;
    if let Some(number) = path.rsplit('/').next().and_then(|number| number.parse().ok()) {
        unregister(number);
    }
    let end = end_of_head(&reply).expect("a reply has a head");

    match fault {
        ConnectionFault::ResetAfter => return client.set_zero_linger(),
        ConnectionFault::HangAfter => {
            halted();
            return hang(client).await;
        }
        ConnectionFault::Cut => reply.truncate(end + (reply.len() - end) / 2),
        ConnectionFault::Empty => {
            let head = String::from_utf8_lossy(&reply[..end]);
            assert!(head.contains("content-length:"), "{head}");
            reply = head.replace("content-length:", "content-length: 0\r\nx-content-length:").into_bytes();
        }
        ConnectionFault::Slow => {
            halted();
            sleep(Duration::from_millis(300)).await;
        }
        ConnectionFault::Drip => {
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

/// Waits until the other side closes the connection.
async fn hang(mut client: TcpStream) -> io::Result<()> {
    client.read(&mut [0]).await.map(drop)
}

/// Reads a request: its head without the empty line at the end, and its body.
async fn read_request(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
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
