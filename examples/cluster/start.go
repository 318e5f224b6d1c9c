package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/sockmill/sockmill/examples/hub/app"
	"github.com/sockmill/sockmill/hub/nats"
	"github.com/sockmill/sockmill/hub/nats/embedded"
)

// forever stands for a history that does not end: streams have an end that is a number.
const forever = 100 * 365 * 24 * time.Hour

// Start implements app.Cluster.
func (c *cluster) Start(ctx context.Context, s app.Settings) (*app.Node, error) {
	cfg := nats.Config{
		Node: c.node, NoHistory: s.History == 0, Replicas: c.replicas, Publications: s.History, Lifetime: max(s.Lifetime, time.Minute), BytesMax: c.bytes,
		Logger: s.Logger,
	}
	if s.Lifetime == 0 {
		cfg.Lifetime = forever
	}
	if c.nats != "" {
		cfg.URL, cfg.Options = c.nats, c.options()
		b, err := nats.New(ctx, cfg)
		if err != nil {
			return nil, fmt.Errorf("-nats: %w", err) // not the URL: it may have a password
		}
		return node(c.node, b, nil), nil
	}
	between, err := c.tls()
	if err != nil {
		return nil, err
	}
	if c.nodes() > 1 {
		s.Say(fmt.Sprintf("node %s waits for the others: there are %d nodes", c.node, c.nodes()))
	}
	server, err := embedded.Start(ctx, embedded.Config{
		Name: c.node, Dir: c.store, SyncAlways: c.sync, Listen: c.natsListen, User: c.natsUser, Password: c.natsPassword,
		ClusterName: c.name, ClusterListen: c.listen, Peers: c.peers, ClusterPassword: c.secret, ClusterTLS: between, Logger: s.Logger,
	})
	if err != nil {
		return nil, err
	}
	cfg.Server = server
	b, err := nats.New(ctx, cfg)
	if err != nil {
		stopping, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return nil, errors.Join(err, server.Stop(stopping))
	}
	n := node(c.node, b, server)
	n.Expected = c.nodes()
	return n, nil
}

// node puts together what the program needs. server is nil if NATS is outside.
func node(name string, b *nats.Broker, server *embedded.Server) *app.Node {
	return &app.Node{
		Name: name, Broker: b, History: b, Presence: b, Health: b.Health, Stats: func() any { return b.Stats() },
		Hopeless: func(health error) bool { return errors.Is(health, embedded.ErrRestart) },
		Close: func(ctx context.Context) error {
			err := b.Close()
			if server != nil {
				err = errors.Join(err, server.Stop(ctx))
			}
			return err
		},
	}
}

// options are those of the connection to -nats.
func (c *cluster) options() (all []natsgo.Option) {
	if c.natsCreds != "" {
		all = append(all, natsgo.UserCredentials(c.natsCreds))
	}
	if c.natsCA != "" {
		all = append(all, natsgo.RootCAs(c.natsCA))
	}
	if c.natsUser != "" {
		all = append(all, natsgo.UserInfo(c.natsUser, c.natsPassword))
	}
	return all
}

// tls is for the connections between nodes; nil without -cluster-cert.
func (c *cluster) tls() (*tls.Config, error) {
	if c.cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("-cluster-cert and -cluster-key: %w", err)
	}
	signers := x509.NewCertPool()
	switch pem, err := os.ReadFile(c.ca); {
	case err != nil:
		return nil, fmt.Errorf("-cluster-ca: %w", err)
	case !signers.AppendCertsFromPEM(pem):
		return nil, fmt.Errorf("-cluster-ca: there is no certificate in %s", c.ca)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: signers, ClientCAs: signers}, nil
}
