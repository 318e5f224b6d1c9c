package embedded_test

import (
	"context"
	"fmt"
	"net"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/sockmill/sockmill/hub/nats/embedded"
)

// One server, for this process only. Its streams go with it; with Dir, they stay.
func ExampleStart() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := embedded.Start(ctx, embedded.Config{Name: "one"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = s.Stop(ctx) }()

	conn, err := natsgo.Connect("", natsgo.InProcessServer(s)) // or nats.Config{Server: s, …}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Println(conn.IsConnected(), s.Health())
	// Output: true <nil>
}

// Three servers, which would be on three machines. Each starts with the same list of addresses, and with the same password.
func ExampleStart_cluster() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	addresses := freeAddresses(3)
	started := make(chan *embedded.Server)
	for i, address := range addresses {
		go func() {
			s, err := embedded.Start(ctx, embedded.Config{
				Name:            fmt.Sprint("node-", i),
				ClusterListen:   address,
				Peers:           addresses,
				ClusterPassword: "secret",
			})
			if err != nil {
				fmt.Println(err)
			}
			started <- s
		}()
	}
	for range addresses {
		if s := <-started; s != nil {
			fmt.Println(s.Health())
			defer func() { _ = s.Stop(ctx) }()
		}
	}
	// Output:
	// <nil>
	// <nil>
	// <nil>
}

func freeAddresses(n int) []string {
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		defer func() { _ = l.Close() }()
		all = append(all, l.Addr().String())
	}
	return all
}
