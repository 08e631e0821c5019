package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/rescind/rescind/subscriber/grpcguard/extauthz"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
)

// askedFlags are the flags of up and agent about what proxies ask.
type askedFlags struct {
	GRPCListen     string        `name:"grpc-listen" help:"Where Envoy asks the agent over gRPC (ext_authz v3, health); unix:/path for a socket." placeholder:"HOST:PORT"`
	MaxStaleness   time.Duration `help:"Refuse (503) when what the agent knows is older than that; 0 decides from what is known, however old." default:"0s"`
	AllowAnonymous bool          `help:"Let requests pass that show no token: nothing at all, or Basic."`
	PreflightFrom  string        `help:"Let browsers' preflight requests pass, which show no token. Where the proxy says the request's method: a header that it always sets, such as X-Original-Method, or \"method\" if it asks with that one." placeholder:"HEADER|method"`
}

func (f *askedFlags) validate() error {
	if err := sidecar.ValidPreflightFrom(f.PreflightFrom); err != nil {
		return fmt.Errorf("--preflight-from: %w", err)
	}
	if f.GRPCListen != "" {
		if err := checkListen("--grpc-listen", f.GRPCListen); err != nil {
			return err
		}
	}
	if f.MaxStaleness != 0 && f.MaxStaleness < 2*time.Second {
		return errors.New("--max-staleness must be 0s or at least 2s: once a second publishers say how far they are")
	}
	return nil
}

// sidecar gives c what the flags say.
func (f *askedFlags) sidecar(c sidecar.Config) sidecar.Config {
	c.MaxStaleness, c.AllowAnonymous, c.PreflightFrom = f.MaxStaleness, f.AllowAnonymous, f.PreflightFrom
	return c
}

// envoyListener is where Envoy asks; without a listener it is nowhere.
type envoyListener struct {
	listener net.Listener
	tls      *tls.Config
}

func (f *askedFlags) listen(secure *tls.Config) (*envoyListener, error) {
	if f.GRPCListen == "" {
		return &envoyListener{}, nil
	}
	l, err := openListener(f.GRPCListen)
	if err != nil {
		return nil, fmt.Errorf("gRPC: %w", err)
	}
	return &envoyListener{l, secure}, nil
}

// address is "" for nowhere.
func (e *envoyListener) address() string {
	if e.listener == nil {
		return ""
	}
	return addressOf(e.listener)
}

// serving is what runs beside the sidecar; nil for nowhere.
func (e *envoyListener) serving(s *sidecar.Sidecar, log *slog.Logger) func(context.Context) error {
	if e.listener == nil {
		return nil
	}
	return func(ctx context.Context) error { return extauthz.New(s, log).Serve(ctx, e.listener, e.tls) }
}

func (e *envoyListener) Close() {
	if e.listener != nil {
		_ = e.listener.Close() // serving has closed it, if it ran
	}
}
