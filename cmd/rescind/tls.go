package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// tlsFlags are those of a command that listens.
type tlsFlags struct {
	TLSCert     string `name:"tls-cert" help:"Serve TLS with this certificate and what leads to its CA, in PEM. Read again when it changes." placeholder:"FILE"`
	TLSKey      string `name:"tls-key" help:"Private key of the certificate, in PEM." placeholder:"FILE"`
	TLSClientCA string `name:"tls-client-ca" help:"CA of clients' certificates, in PEM. A publisher knows callers by their subject (tls_clients); an agent and NATS take nobody without one." placeholder:"FILE"`
}

func (f *tlsFlags) validate() error {
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return errors.New("--tls-cert and --tls-key go together")
	case f.TLSClientCA != "" && f.TLSCert == "":
		return errors.New("--tls-client-ca needs --tls-cert and --tls-key")
	}
	return nil
}

// config is nil without a certificate. auth is what is asked of clients where there
// is a CA for them.
func (f *tlsFlags) config(auth tls.ClientAuthType) (*tls.Config, error) {
	if f.TLSCert == "" {
		return nil, nil
	}
	files := &certFiles{cert: f.TLSCert, key: f.TLSKey}
	if _, err := files.get(nil); err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get, NextProtos: []string{"h2", "http/1.1"}}
	if f.TLSClientCA != "" {
		pool, err := readCA(f.TLSClientCA)
		if err != nil {
			return nil, err
		}
		c.ClientCAs, c.ClientAuth = pool, auth
	}
	return c, nil
}

func readCA(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

// certFiles is a certificate that is read again when its file changes, so that one
// that is renewed needs no new start.
type certFiles struct {
	cert, key string

	mu   sync.Mutex
	last *tls.Certificate
	at   time.Time // when the file was changed that last is of
}

// get gives the certificate. While the files cannot be used, the last one stands.
func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.cert)
	if err == nil && f.last != nil && info.ModTime().Equal(f.at) {
		return f.last, nil
	}
	if err == nil {
		var c tls.Certificate
		if c, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.last, f.at = &c, info.ModTime()
		}
	}
	if f.last == nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return f.last, nil
}

// natsOptions are the credentials for NATS, and what is for a server that asks for TLS,
// or a tls:// URL, which insists on it.
func (g *globals) natsOptions() ([]nats.Option, error) {
	c, err := g.clientTLS()
	opts := []nats.Option{func(o *nats.Options) error {
		o.TLSConfig = c
		return nil
	}}
	if g.NatsCreds != "" {
		opts = append(opts, nats.UserCredentials(g.NatsCreds))
	}
	return opts, err
}

// clientTLS is how to talk to publisher, agent and NATS over TLS.
func (g *globals) clientTLS() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if g.CA != "" {
		pool, err := readCA(g.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if g.ClientCert != "" {
		cert, err := tls.LoadX509KeyPair(g.ClientCert, g.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("reading the client's certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// transport is the default one, with the CA and the certificate of the flags.
func (g *globals) transport() (*http.Transport, error) {
	c, err := g.clientTLS()
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = c
	return t, nil
}
