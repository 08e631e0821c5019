package grpcguard_test

import (
	"google.golang.org/grpc"

	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/grpcguard"
	"github.com/rescind/rescind/subscriber/guard"
)

// A gRPC server refuses revoked tokens, and ends the streams that are open for them.
func Example() {
	serve := func(agent *subscriber.Agent, verify guard.Verify) (*grpc.Server, error) {
		g, err := grpcguard.New(agent, verify) // close it with the server
		if err != nil {
			return nil, err
		}
		return grpc.NewServer(grpc.ChainUnaryInterceptor(g.Unary), grpc.ChainStreamInterceptor(g.Stream)), nil
	}
	_ = serve
}
