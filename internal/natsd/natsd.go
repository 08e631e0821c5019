// Package natsd runs a nats-server inside the program, with the settings that
// rescind documents: JetStream on a file store that is synced at every write. It
// is a package of its own so that who embeds an agent never links the server.
package natsd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// tlsTimeout is how long a client's handshake may take.
const tlsTimeout = 5 * time.Second

// DefaultListen is where the server listens when nothing else is configured.
const DefaultListen = "127.0.0.1:4222"

// Config says where the server keeps its data and who may reach it.
type Config struct {
	// Dir holds the streams. It is made if it is missing, for this user alone.
	// Only one server may use it at a time. Empty is refused.
	Dir string
	// Listen is host:port for clients. Empty means DefaultListen; port 0 takes
	// any free one.
	Listen string
	// MonitorListen is host:port of the HTTP monitor. Empty means none.
	MonitorListen string
	// Username and Password, or Token, are asked of every client, in-process ones
	// too. None of them means that whoever reaches the port may do anything.
	Username, Password string
	Token              string
	// TLS is what clients are served with, and the HTTP monitor then by HTTPS; nil
	// means in the clear. In-process connections have none. Where it asks for a
	// client's certificate, nobody else is taken.
	TLS *tls.Config
	// Logger takes the server's log: notices at debug level, trouble at warn.
	// Payloads are never logged. Nil means no log.
	Logger *slog.Logger
}

// Server is a running nats-server.
type Server struct {
	srv    *server.Server
	secure bool
	stop   sync.Once
}

// Start starts a server and returns once it takes connections and JetStream is
// ready, or with what is in the way: a directory that cannot be used, a port that
// is taken. ctx governs the start only; the server runs until Close.
func Start(ctx context.Context, c Config) (*Server, error) {
	opts, err := c.options()
	if err != nil {
		return nil, fmt.Errorf("nats-server: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("nats-server: making store directory: %w", err)
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("nats-server: %w", err)
	}
	log := newLogger(c.Logger)
	srv.SetLoggerV2(log, false, false, false)
	s := &Server{srv: srv, secure: opts.TLSConfig != nil}
	srv.Start()
	if err := s.waitReady(ctx, log.fatal); err != nil {
		s.Close()
		return nil, fmt.Errorf("nats-server: %w", err)
	}
	if !c.protected() && !isLoopback(opts.Host) {
		log.out.Warn("nats-server takes anyone who reaches it", "listen", srv.Addr().String())
	}
	return s, nil
}

// waitReady returns when the server is ready, has given up, or ctx ends.
func (s *Server) waitReady(ctx context.Context, fatal <-chan string) error {
	for {
		select {
		case msg := <-fatal:
			return errors.New(msg)
		case <-ctx.Done():
			return fmt.Errorf("waiting for it to be ready: %w", context.Cause(ctx))
		default:
		}
		if s.srv.ReadyForConnections(50*time.Millisecond) && s.srv.JetStreamEnabled() {
			return nil
		}
	}
}

// ClientURL is what clients connect to.
func (s *Server) ClientURL() string { return s.srv.ClientURL() }

// MonitorURL is the base of the HTTP monitor; empty when there is none.
func (s *Server) MonitorURL() string {
	addr := s.srv.MonitorAddr()
	if addr == nil {
		return ""
	}
	if s.secure {
		return "https://" + addr.String()
	}
	return "http://" + addr.String()
}

// InProcessConn opens a connection without the network. It makes Server what
// nats.InProcessServer takes.
func (s *Server) InProcessConn() (net.Conn, error) { return s.srv.InProcessConn() }

// Close stops the server and waits until its files are closed. Closing again is
// fine.
func (s *Server) Close() {
	s.stop.Do(s.srv.Shutdown)
	s.srv.WaitForShutdown()
}

func (c Config) protected() bool { return c.Username != "" || c.Token != "" || c.asksForCertificates() }

func (c Config) asksForCertificates() bool {
	return c.TLS != nil && c.TLS.ClientAuth == tls.RequireAndVerifyClientCert
}

func (c Config) options() (*server.Options, error) {
	if c.Dir == "" {
		return nil, errors.New("config: Dir is empty")
	}
	if (c.Username == "") != (c.Password == "") {
		return nil, errors.New("config: Username and Password must be set together")
	}
	if c.Username != "" && c.Token != "" {
		return nil, errors.New("config: Token cannot be set beside Username")
	}
	opts := &server.Options{
		ServerName: "rescind", NoSigs: true,
		JetStream: true, StoreDir: filepath.Clean(c.Dir), SyncAlways: true,
		Username: c.Username, Password: c.Password, Authorization: c.Token,
	}
	var err error
	listen := c.Listen
	if listen == "" {
		listen = DefaultListen
	}
	if opts.Host, opts.Port, err = splitListen(listen); err != nil {
		return nil, fmt.Errorf("config: Listen: %w", err)
	}
	if c.TLS != nil {
		opts.TLS, opts.TLSConfig, opts.TLSVerify = true, c.TLS, c.asksForCertificates()
		opts.TLSTimeout = tlsTimeout.Seconds()
	}
	if c.MonitorListen == "" {
		return opts, nil
	}
	port := &opts.HTTPPort
	if c.TLS != nil {
		port = &opts.HTTPSPort
	}
	if opts.HTTPHost, *port, err = splitListen(c.MonitorListen); err != nil {
		return nil, fmt.Errorf("config: MonitorListen: %w", err)
	}
	return opts, nil
}

// splitListen gives host and port in the form of nats-server's options, where -1
// is any free port.
func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q: must be 0 to 65535", text)
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
