package embedded

import (
	"crypto/tls"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Times that the server lets us choose. A link that is cut silently is noticed when two pings have not been answered: after
// two to three seconds.
const (
	pingEvery   = time.Second
	pingsOutMax = 2

	// When a server stops, clients that are left are told and closed within lameDuck.
	lameDuck      = time.Second
	lameDuckGrace = 200 * time.Millisecond
)

func (s *Server) options() *server.Options {
	c := &s.config
	o := &server.Options{
		ServerName:             c.Name,
		DontListen:             c.Listen == "" && len(s.others) == 0,
		NoSigs:                 true,
		NoLog:                  true, // SetLoggerV2 sets ours
		JetStream:              true,
		StoreDir:               s.store.dir,
		JetStreamMaxMemory:     c.MemoryBytesMax,
		JetStreamMaxStore:      c.StoreBytesMax,
		DisableJetStreamBanner: true,
		SyncAlways:             c.SyncAlways,
		MaxPayload:             int32(c.PayloadBytesMax),
		MaxPending:             max(server.MAX_PENDING_SIZE, 4*int64(c.PayloadBytesMax)),
		LameDuckDuration:       lameDuck,
		LameDuckGracePeriod:    lameDuckGrace,
		// One attempt of about sixty, which is one each minute.
		ConnectErrorReports:   60,
		ReconnectErrorReports: 60,
	}
	// In a cluster, the server must listen for clients, also if none are let in.
	o.Host, o.Port = "127.0.0.1", server.RANDOM_PORT
	if c.Listen != "" {
		o.Host, o.Port = hostPort(c.Listen)
	}
	o.CustomClientAuthentication = &clientGate{config: c}
	if c.TLS != nil {
		o.TLSConfig = c.TLS.Clone()
		o.TLSTimeout = server.TLS_TIMEOUT.Seconds()
	}
	if len(s.others) > 0 {
		o.CustomRouterAuthentication = &routeGate{password: s.clusterPassword(), routes: s.routes}
		s.clusterOptions(o)
	}
	return o
}

func (s *Server) clusterOptions(o *server.Options) {
	c := &s.config
	o.Cluster = server.ClusterOpts{
		Name:         c.ClusterName,
		Username:     c.Name, // see routeGate
		Password:     s.clusterPassword(),
		NoAdvertise:  c.Listen == "",
		PingInterval: pingEvery,
		MaxPingsOut:  pingsOutMax,
	}
	o.Cluster.Host, o.Cluster.Port = hostPort(c.ClusterListen)
	if c.ClusterTLS != nil {
		t := c.ClusterTLS.Clone()
		t.ClientAuth = tls.RequireAndVerifyClientCert
		if t.ClientCAs == nil {
			t.ClientCAs = t.RootCAs
		}
		o.Cluster.TLSConfig = t
		o.Cluster.TLSTimeout = server.TLS_TIMEOUT.Seconds()
	}
	// At its first start, the server waits for as many others as it has routes, itself among them: so its own address is not one of
	// them, and one may be missing.
	for _, a := range s.others {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: a, User: url.UserPassword(o.Cluster.Username, o.Cluster.Password)})
	}
}

// clusterPassword is never empty: the server would not ask for one.
func (s *Server) clusterPassword() string {
	return "p" + s.config.ClusterPassword
}

// hostPort splits an address that check has seen. Port 0 is any port, which is -1 for the server.
func hostPort(address string) (string, int) {
	host, p, _ := net.SplitHostPort(address)
	port, _ := net.LookupPort("tcp", p)
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port
}
