// Idle is the smallest service that embeds an agent and its guard: it links what
// such a service links, and waits. It prints a line once its agents are synced.
//
//	idle --nats URL --keys FILE [--dir DIR] [--agents N]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
)

func main() {
	url := flag.String("nats", nats.DefaultURL, "where NATS is")
	keys := flag.String("keys", "", "publishers' public keys, a JWKS file")
	dir := flag.String("dir", "", "where the agent keeps its set; empty keeps it in memory")
	agents := flag.Int("agents", 1, "how many agents, each on a connection of its own")
	flag.Parse()
	if err := run(context.Background(), *url, *keys, *dir, *agents); err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url, keys, dir string, n int) error {
	var agents []*subscriber.Agent
	for i := range n {
		nc, err := nats.Connect(url, nats.MaxReconnects(-1))
		if err != nil {
			return err
		}
		defer nc.Close()
		a, err := subscriber.Open(ctx, nc, subscriber.Config{Service: "idle", Instance: fmt.Sprint(os.Getpid(), "-", i), Dir: dir,
			Keys: subscriber.KeysFile(keys)})
		if err != nil {
			return err
		}
		defer a.Close()
		agents = append(agents, a)
	}
	for _, a := range agents {
		<-a.Synced()
	}
	// What is reachable is linked.
	http.Handle("/", guard.Middleware(agents[0], refuse)(http.NotFoundHandler()))
	fmt.Println("0")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func refuse(context.Context, string) (jwt.MapClaims, error) {
	return nil, errors.New("an idle service verifies nothing")
}
