package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is Debian's redis-server on a unix socket of its own, without
// persistence of its own accord.
type redisServer struct {
	cmd    *exec.Cmd
	dir    string
	client *redis.Client
}

func startRedis(ctx context.Context, parent string) (*redisServer, error) {
	dir, err := os.MkdirTemp(parent, "redis-")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "s")
	s := &redisServer{dir: dir, cmd: exec.Command("redis-server", "--port", "0", "--unixsocket", socket,
		"--save", "", "--appendonly", "no", "--dir", dir)}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting redis-server: %w", err)
	}
	s.client = redis.NewClient(&redis.Options{Network: "unix", Addr: socket, ReadTimeout: 5 * time.Minute})
	err = await(ctx, 10*time.Second, "redis-server", func() bool { return s.client.Ping(ctx).Err() == nil })
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends the server and waits for it.
func (s *redisServer) Close() error {
	err := s.client.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	return err
}

// pipeline is how many commands are sent at once while filling.
const pipeline = 10_000

// fill sets a key for each identity and each user.
func (s *redisServer) fill(ctx context.Context, st stock) error {
	set := func(n int, key func(i int) string, value string) error {
		for first := 0; first < n; first += pipeline {
			_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
				for i := first; i < min(first+pipeline, n); i++ {
					p.Set(ctx, key(i), value, 0)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("filling redis: %w", err)
			}
		}
		return nil
	}
	return errors.Join(
		set(st.identities, func(i int) string { id := identity(i); return string(id[:]) }, "1"),
		set(st.users, func(i int) string { return "user:" + user(i) }, strconv.FormatInt(cutoff, 10)))
}

// stockedRedis is a server that holds the stock.
func stockedRedis(ctx context.Context, c *Config, s stock) (contestant, error) {
	server, err := startRedis(ctx, c.Dir)
	if err != nil {
		return contestant{}, err
	}
	if err := server.fill(ctx, s); err != nil {
		return contestant{}, errors.Join(err, server.Close())
	}
	return server.contestant(ctx), nil
}

// contestant asks for both keys in one command, the fewest round trips.
func (s *redisServer) contestant(ctx context.Context) contestant {
	check := func(q *query) bool {
		values, err := s.client.MGet(ctx, string(q.tok.Identity[:]), "user:"+q.sub).Result()
		if err != nil || len(values) != 2 {
			return false
		}
		if values[0] != nil {
			return true
		}
		text, ok := values[1].(string)
		notBefore, err := strconv.ParseInt(text, 10, 64)
		return ok && err == nil && q.tok.IssuedAt <= notBefore
	}
	c := judge("redis", check)
	c.slow, c.close = true, s.Close
	return c
}

// usedMemory is what the server says that it uses, in bytes.
func (s *redisServer) usedMemory(ctx context.Context) (float64, error) {
	info, err := s.client.Info(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(strings.NewReader(info)); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "used_memory:"); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, errors.New("redis does not say how much memory it uses")
}

// dumpSize saves the keys and gives the file's size in bytes.
func (s *redisServer) dumpSize(ctx context.Context) (float64, error) {
	if err := s.client.Save(ctx).Err(); err != nil {
		return 0, err
	}
	info, err := os.Stat(filepath.Join(s.dir, "dump.rdb"))
	if err != nil {
		return 0, err
	}
	return float64(info.Size()), nil
}
