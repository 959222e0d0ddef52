//! A proxy in front of DynamoDB whose connections can fall silent: both sides keep them open, and nothing passes any more. Pooled
//! connections may do so while an execution environment is frozen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testing::dynamodb;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A running proxy.
pub struct SilentProxy {
    pub url: String,
    /// Its value changes when the open connections fall silent.
    silenced: watch::Sender<()>,
    connections: Arc<AtomicUsize>,
}

impl SilentProxy {
    /// Starts a proxy.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let silenced = watch::Sender::new(());
        let connections = Arc::new(AtomicUsize::default());
        let (counter, listening) = (connections.clone(), silenced.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let mut silence = listening.subscribe();
                tokio::spawn(async move {
                    let mut engine = TcpStream::connect(dynamodb::address()).await.expect("it listens");
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut engine) => {}
                        Ok(()) = silence.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { url, silenced, connections }
    }

    /// Makes all open connections silent. New ones work.
    pub fn silence_all(&self) {
        self.silenced.send_replace(());
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
