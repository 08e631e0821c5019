package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/rescind/rescind/events"
)

// validate refuses values that the flags' types let through.
func (g *globals) validate() error {
	if err := events.Fleet(g.Fleet).Validate(); err != nil {
		return fmt.Errorf("--fleet: %w", err)
	}
	if g.Dir == "" {
		return errors.New("--dir must not be empty")
	}
	if err := checkServer("--publisher", g.Publisher); err != nil {
		return err
	}
	return checkServer("--agent", g.Agent)
}

// checkServer refuses what is neither an HTTP URL nor unix:/path.
func checkServer(flag, address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok && path != "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%s must be a URL such as http://127.0.0.1:7480, or unix:/path, not %q", flag, address)
	}
	return nil
}

// checkPublicURL refuses what cannot be the issuer of events; empty is none.
func checkPublicURL(address string) error {
	u, err := url.Parse(address)
	if address != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
		u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
		return fmt.Errorf("--public-url must be a URL such as https://rescind.example.com, without query or fragment, not %q", address)
	}
	return nil
}

// checkListen refuses what is neither host:port nor unix:/path.
func checkListen(flag, address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok && path != "" {
		return nil
	}
	if checkHostPort(flag, address) != nil {
		return fmt.Errorf("%s must be HOST:PORT or unix:/path, not %q", flag, address)
	}
	return nil
}

func checkHostPort(flag, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil || port == "" {
		return fmt.Errorf("%s must be HOST:PORT, not %q", flag, address)
	}
	return nil
}

// notNegative refuses a duration or a number below zero.
func notNegative[T time.Duration | int](flag string, v T) error {
	if v < 0 {
		return fmt.Errorf("%s must not be negative", flag)
	}
	return nil
}
