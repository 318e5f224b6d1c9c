package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/sockmill/sockmill/examples/hub/app"
)

// cluster is the part of the program that makes its process a node: the flags first.
type cluster struct {
	node     string
	urls     []string
	replicas int
	bytes    int64

	// NATS in the process.
	store, listen, name, secret, cert, key, ca string
	sync                                       bool
	peers                                      []string // without this node itself
	natsListen                                 string

	// NATS outside. The first two are also what clients of natsListen have to know.
	natsUser, natsPassword  string
	nats, natsCreds, natsCA string
}

// Flags implements app.Cluster.
func (c *cluster) Flags(f *flag.FlagSet) {
	f.StringVar(&c.node, "node", "", "the name of this node, which no other has: 1 to 64 of the characters A-Z, a-z, 0-9, _ and -")
	f.Func("urls", "where browsers find the nodes, http://HOST:PORT,…, so that a page whose node is gone goes to another one", func(s string) (err error) {
		c.urls, err = app.CheckURLs(strings.Split(s, ","))
		return err
	})
	f.IntVar(&c.replicas, "replicas", 0, "on how many NATS servers a message is kept: 1, 3 or 5; 0: 3 if the NATS in the process has at least three nodes, else 1")
	f.Int64Var(&c.bytes, "history-bytes", 1<<30, "that the messages of all channels may have; above, the oldest go")
	f.StringVar(&c.store, "store", "", "the directory in which the NATS in the process keeps what it has; without it, that ends with the process")
	f.BoolVar(&c.sync, "sync", false, "write each message through to the disk before it is acknowledged, so that a loss of power everywhere at once loses none")
	f.StringVar(&c.listen, "cluster-listen", "", "HOST:PORT at which the other nodes reach this one")
	f.Func("cluster-peers", "HOST:PORT,… of the other nodes, or of all", func(s string) error {
		c.peers = strings.Split(s, ",")
		return nil
	})
	f.StringVar(&c.name, "cluster-name", "sockmill", "the same on all nodes; nodes of another name are not let in")
	f.StringVar(&c.secret, "cluster-secret", "", "the same on all nodes; who does not know it is not let in")
	f.StringVar(&c.cert, "cluster-cert", "", "file with the certificate (PEM) that this node shows to the others; TLS between nodes needs -cluster-key and -cluster-ca too")
	f.StringVar(&c.key, "cluster-key", "", "file with its key (PEM)")
	f.StringVar(&c.ca, "cluster-ca", "", "file with the certificates (PEM) that sign those of the nodes")
	f.StringVar(&c.natsListen, "nats-listen", "", "HOST:PORT for other NATS clients of the NATS in the process; without it there are none")
	f.StringVar(&c.nats, "nats", "", "the URL of a NATS with JetStream outside, or several with commas, in place of one in the process")
	f.StringVar(&c.natsCreds, "nats-creds", "", "file with credentials for -nats")
	f.StringVar(&c.natsCA, "nats-ca", "", "file with the certificates (PEM) that sign that of -nats; without it those of the system do")
	f.StringVar(&c.natsUser, "nats-user", "", "who this node is for -nats, or what clients of -nats-listen have to know")
	f.StringVar(&c.natsPassword, "nats-password", "", "the same")
}

// Check implements app.Cluster.
func (c *cluster) Check() error {
	if c.node == "" {
		return errors.New("-node is missing: each node has a name of its own, such as -node a")
	}
	if (c.natsUser == "") != (c.natsPassword == "") {
		return errors.New("-nats-user and -nats-password belong together")
	}
	if c.nats != "" {
		return c.checkOutside()
	}
	return c.checkInside()
}

func (c *cluster) checkOutside() error {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"store", c.store != ""}, {"sync", c.sync}, {"cluster-listen", c.listen != ""}, {"cluster-peers", c.peers != nil}, {"cluster-secret", c.secret != ""},
		{"cluster-cert", c.cert != ""}, {"cluster-key", c.key != ""}, {"cluster-ca", c.ca != ""}, {"nats-listen", c.natsListen != ""},
	} {
		if f.set {
			return fmt.Errorf("-nats and -%s exclude each other: -nats is for a NATS outside, -%[1]s for the one in the process", f.name)
		}
	}
	return nil
}

func (c *cluster) checkInside() error {
	switch {
	case c.natsCreds != "" || c.natsCA != "":
		return errors.New("-nats-creds and -nats-ca need -nats")
	case c.natsUser != "" && c.natsListen == "":
		return errors.New("-nats-user needs -nats or -nats-listen")
	case (c.listen == "") != (c.peers == nil):
		return errors.New("-cluster-listen and -cluster-peers belong together: where the others reach this node, and where it reaches them")
	case (c.cert == "") != (c.key == "") || (c.cert == "") != (c.ca == ""):
		return errors.New("-cluster-cert, -cluster-key and -cluster-ca belong together")
	}
	for _, f := range []struct {
		name      string
		addresses []string
	}{{"cluster-listen", []string{c.listen}}, {"cluster-peers", c.peers}, {"nats-listen", []string{c.natsListen}}} {
		for _, a := range f.addresses {
			if _, port, err := net.SplitHostPort(a); a != "" && (err != nil || port == "") || a == "" && f.name == "cluster-peers" {
				return fmt.Errorf("-%s has %q: it must be HOST:PORT", f.name, a)
			}
		}
	}
	if host, _, _ := net.SplitHostPort(c.listen); c.listen != "" && isWildcard(host) {
		return fmt.Errorf("-cluster-listen is %s: it must be the address at which the others reach this node, as in their -cluster-peers", c.listen)
	}
	c.peers = slices.DeleteFunc(c.peers, func(a string) bool { return a == c.listen })
	slices.Sort(c.peers)
	c.peers = slices.Compact(c.peers)
	if c.replicas == 0 {
		c.replicas = 1
		if c.nodes() >= 3 {
			c.replicas = 3
		}
	}
	if c.replicas > c.nodes() {
		return fmt.Errorf("-replicas is %d: there are only %d nodes in -cluster-peers and -cluster-listen", c.replicas, c.nodes())
	}
	return nil
}

func isWildcard(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

// nodes is how many there are, with NATS in the process.
func (c *cluster) nodes() int { return 1 + len(c.peers) }

// URLs implements app.Cluster.
func (c *cluster) URLs() []string { return c.urls }
