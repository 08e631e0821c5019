// Bare is a service that holds NATS subscriptions and does nothing with them. It
// prints a line once it is subscribed.
//
//	bare --nats URL [--subject SUBJECT] [--connections N]
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/nats-io/nats.go"
)

func main() {
	url := flag.String("nats", nats.DefaultURL, "where NATS is")
	subject := flag.String("subject", "rescind.>", "what to subscribe to")
	flag.String("keys", "", "not used: idle takes it too")
	connections := flag.Int("connections", 1, "how many, with one subscription each")
	flag.Parse()
	if err := run(*url, *subject, *connections); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run(url, subject string, n int) error {
	for range n {
		nc, err := nats.Connect(url, nats.MaxReconnects(-1))
		if err != nil {
			return err
		}
		defer nc.Close()
		if _, err := nc.Subscribe(subject, func(*nats.Msg) {}); err != nil {
			return err
		}
		if err := nc.Flush(); err != nil {
			return err
		}
	}
	fmt.Println("0")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
