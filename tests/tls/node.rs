//! A broker with certificates, and clients that speak to it over TLS.

use crate::certificates::{Authority, Certificate};
use crate::support::client::{Client, Wire};
use crate::support::ports::free_addresses;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
/// How long a line that must come may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of a test's, which goes with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("leveret-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub fn write_certificate(&self, name: &str, certificate: &Certificate) {
        self.write(&format!("{name}.pem"), &certificate.pem);
        self.write(&format!("{name}.key"), &certificate.key_pem);
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A broker that speaks TLS, with its log.
pub struct Node {
    pub authority: Authority,
    pub folder: Folder,
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    pub management: SocketAddr,
    child: Child,
    log: Receiver<String>,
}

impl Node {
    /// One with a certificate for localhost. `settings` are those before the table `[tls]`, `tls` those in it.
    pub fn start(settings: &str, tls: &str) -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        folder.write_certificate("server", &authority.host(&["localhost"]));
        Self::start_in(folder, authority, settings, tls)
    }

    pub fn start_in(folder: Folder, authority: Authority, settings: &str, tls: &str) -> Self {
        folder.write("ca.pem", &authority.pem);
        let [plain, tls_address, management] = free_addresses();
        let config = format!(
            "listen = ['{plain}']\ntls_listen = ['{tls_address}']\nmanagement_listen = '{management}'\n\
             data_dir = 'data'\n{settings}\n\
             [tls]\ncertfile = 'server.pem'\nkeyfile = 'server.key'\n{tls}\n"
        );
        folder.write("leveret.toml", &config);
        let mut child = Command::new(env!("CARGO_BIN_EXE_leveret"))
            .args(["--config", "leveret.toml", "--prometheus-listen", "off", "--log-level", "debug"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the leveret program");
        let (said, log) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        let node = Self { authority, folder, plain, tls: tls_address, management, child, log };
        node.wait_for_line("is ready");
        node
    }

    /// Waits for a line of the log that has this in it.
    #[track_caller]
    pub fn wait_for_line(&self, wanted: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(wanted) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {wanted:?} ({error}) in:\n{}", seen.join("\n")),
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client that has said nothing yet but TLS's own words.
    pub fn client(&self, config: &Arc<ClientConfig>) -> Client {
        Client::over(Encrypted(self.stream(config)))
    }

    /// One that trusts the broker's authority and speaks all versions.
    pub fn any_client(&self) -> Client {
        self.client(&self.authority.client_config(&BOTH, None))
    }

    pub fn stream(&self, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
        self.stream_to("localhost", config)
    }

    pub fn stream_to(&self, name: &str, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
        let socket = TcpStream::connect(self.tls).expect("the broker listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        socket.set_nodelay(true).expect("a TCP socket");
        Self::over(socket, name, config)
    }

    /// Over a socket on which something was said already.
    pub fn stream_over(
        &self,
        socket: TcpStream,
        config: &Arc<ClientConfig>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        Self::over(socket, "localhost", config)
    }

    fn over(socket: TcpStream, name: &str, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name).expect("a client");
        StreamOwned::new(session, socket)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Encrypted(pub StreamOwned<ClientConnection, TcpStream>);

impl std::io::Read for Encrypted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Write for Encrypted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Wire for Encrypted {
    fn set_read_timeout(&self, timeout: Duration) {
        self.0.sock.set_read_timeout(Some(timeout)).expect("a TCP socket");
    }
}
