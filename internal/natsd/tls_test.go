package natsd_test

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/certtest"
	"github.com/rescind/rescind/internal/natsd"
)

// certificates are those of a server and of a client, by one CA.
type certificates struct{ dir string }

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	c := &certificates{t.TempDir()}
	ca, err := certtest.NewCA(c.dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server", "client"} {
		if err := ca.Sign(name, pkix.Name{CommonName: name}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *certificates) path(name string) string { return filepath.Join(c.dir, name) }

// config is the server's, or what a client has in common with it.
func (c *certificates) config(t *testing.T, auth tls.ClientAuthType) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(c.path("server.pem"), c.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := certtest.Pool(c.path("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		ClientCAs: pool, RootCAs: pool, ClientAuth: auth, NextProtos: []string{"h2", "http/1.1"}}
}

func TestClientsAreServedOverTLS(t *testing.T) {
	certs := newCertificates(t)
	c := certs.config(t, tls.NoClientCert)
	s := start(t, natsd.Config{TLS: c, MonitorListen: "127.0.0.1:0"})
	if !strings.HasPrefix(s.ClientURL(), "tls://127.0.0.1:") || !strings.HasPrefix(s.MonitorURL(), "https://127.0.0.1:") {
		t.Errorf("got %s, %s", s.ClientURL(), s.MonitorURL())
	}
	if nc, err := nats.Connect(s.ClientURL()); err == nil {
		nc.Close()
		t.Error("who does not know the CA trusts the server")
	}
	nc := connect(t, s.ClientURL(), nats.RootCAs(certs.path("ca.pem")))
	if state, err := nc.TLSConnectionState(); err != nil || !state.HandshakeComplete {
		t.Errorf("no TLS: %v", err)
	}
	if err := newBus(t, nc).Apply(t.Context(), bus.Settings{}); err != nil {
		t.Error(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.RootCAs}}}
	defer client.CloseIdleConnections()
	res, err := client.Get(s.MonitorURL() + "/jsz")
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close(); res.StatusCode != http.StatusOK {
		t.Errorf("the monitor answers %s", res.Status)
	}
	// Inside of the process there is nothing to be protected.
	if err := connect(t, "", nats.InProcessServer(s)).Flush(); err != nil {
		t.Error(err)
	}
}

func TestServerAsksForCertificates(t *testing.T) {
	certs := newCertificates(t)
	s := start(t, natsd.Config{TLS: certs.config(t, tls.RequireAndVerifyClientCert)})
	if nc, err := nats.Connect(s.ClientURL(), nats.RootCAs(certs.path("ca.pem"))); err == nil {
		err = nc.Flush()
		nc.Close()
		if err == nil {
			t.Error("a client without a certificate is taken")
		}
	}
	nc := connect(t, s.ClientURL(), nats.RootCAs(certs.path("ca.pem")), nats.ClientCert(certs.path("client.pem"), certs.path("client.key")))
	if err := nc.Flush(); err != nil {
		t.Error(err)
	}
	if err := connect(t, "", nats.InProcessServer(s)).Flush(); err != nil {
		t.Error(err)
	}
	// By another CA.
	other := newCertificates(t)
	if nc, err := nats.Connect(s.ClientURL(), nats.RootCAs(certs.path("ca.pem")), nats.ClientCert(other.path("client.pem"), other.path("client.key"))); err == nil {
		nc.Close()
		t.Error("a certificate of another CA is taken")
	}
}
