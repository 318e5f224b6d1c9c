package embedded

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// stepTimeout bounds each step of a hello: to connect, to hear from the peer, TLS. A host that does not answer holds up a start for so long.
const stepTimeout = time.Second

// lineBytesMax bounds a line of the protocol, of which the longest is INFO.
const lineBytesMax = 64 << 10

// refusal is a reason why a peer and this server will not come together, however long one waits.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

// errDuplicate says that a server of our name is there. It is worth a second try: a server that has crashed is
// connected to the others until they notice.
var errDuplicate = errors.New("a server of this name is already in the cluster")

// errSelf says that the address is that of this server.
var errSelf = errors.New("the address of this server itself")

// peerInfo is what we need of INFO, the first line of every NATS server.
type peerInfo struct {
	ID       string `json:"server_id"`
	Name     string `json:"server_name"`
	Cluster  string `json:"cluster"`
	ClientID uint64 `json:"client_id"` // only at addresses for clients
	Payload  int    `json:"max_payload"`
}

// hello asks the peer at an address whether it would let this server in, and returns its name. It speaks the beginning of the
// protocol between servers, up to where a server would say its name. The server itself does not tell why it is not let in,
// nor does it notice a second one of a name that only the others know.
func (s *Server) hello(ctx context.Context, address string) (name string, err error) {
	name, err = s.greet(ctx, address, s.config.Name)
	if !errors.Is(err, errUnauthorized) {
		return name, err
	}
	// The password is wrong, or the name is taken: without a name, it is only the password.
	switch name, err = s.greet(ctx, address, ""); {
	case errors.Is(err, errUnauthorized):
		return name, &refusal{"it has another Config.ClusterPassword"}
	case err == nil:
		return name, errDuplicate
	}
	return name, err
}

var errUnauthorized = errors.New("not authorized")

// greet connects as a server of a name and returns the name of the peer.
func (s *Server) greet(ctx context.Context, address, own string) (string, error) {
	conn, err := s.dial(ctx, address, s.config.ClusterTLS)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	r := bufio.NewReaderSize(conn, lineBytesMax)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", s.silent(ctx, address, err)
	}
	var info peerInfo
	if data, ok := bytes.CutPrefix(line, []byte("INFO ")); !ok || json.Unmarshal(data, &info) != nil {
		return "", &refusal{"it is not a NATS server"}
	}
	if err := s.judge(&info); err != nil {
		return info.Name, err
	}
	connect, err := json.Marshal(map[string]any{
		"user": own, "pass": s.clusterPassword(), "name": s.server.ID(), "cluster": s.config.ClusterName,
		"tls_required": s.config.ClusterTLS != nil, "echo": true, "headers": true, "lnoc": true, "ln": true,
	})
	if err != nil {
		return info.Name, err
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s\r\nPING\r\n", connect); err != nil {
		return info.Name, refusedTLS(err)
	}
	return info.Name, answer(r)
}

// dial connects to a peer, with TLS if there is a configuration for it. What follows has to be done within stepTimeout.
func (s *Server) dial(ctx context.Context, address string, config *tls.Config) (net.Conn, error) {
	d := net.Dialer{Timeout: stepTimeout}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(stepTimeout))
	if config == nil {
		return conn, nil
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, refusedTLS(err)
	}
	_ = conn.SetDeadline(time.Now().Add(stepTimeout))
	return c, nil
}

// silent says why nothing was heard: a peer with TLS waits for us to begin.
func (s *Server) silent(ctx context.Context, address string, err error) error {
	if s.config.ClusterTLS != nil {
		return refusedTLS(err)
	}
	var r *refusal
	//nolint:gosec // it is only asked whether there is TLS
	conn, tlsErr := s.dial(ctx, address, &tls.Config{InsecureSkipVerify: true})
	if tlsErr == nil {
		_ = conn.Close()
	} else if !errors.As(tlsErr, &r) {
		return fmt.Errorf("nothing was heard from it: %w", err)
	}
	return &refusal{"it has TLS, and Config.ClusterTLS is nil"}
}

// answer waits for the answer to PING.
func answer(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case bytes.HasPrefix(line, []byte("PONG")):
			return nil
		case bytes.Contains(line, []byte("Authorization Violation")):
			return errUnauthorized
		case bytes.HasPrefix(line, []byte("-ERR")):
			return &refusal{string(bytes.TrimSpace(line))}
		case err != nil:
			return refusedTLS(err)
		}
	}
}

// judge says what of a peer's INFO does not go together with this server.
func (s *Server) judge(info *peerInfo) error {
	switch {
	case info.ID == s.server.ID():
		return errSelf
	case info.ClientID != 0:
		return &refusal{"it is an address for clients: that of Config.ClusterListen is needed"}
	case info.Name == s.config.Name:
		return errDuplicate
	case info.Cluster != s.config.ClusterName:
		return &refusal{fmt.Sprintf("it is in the cluster %q: Config.ClusterName is %q", info.Cluster, s.config.ClusterName)}
	case info.Payload != s.config.PayloadBytesMax:
		return &refusal{fmt.Sprintf("its largest message has %d bytes: Config.PayloadBytesMax is %d", info.Payload, s.config.PayloadBytesMax)}
	}
	return nil
}

// refusedTLS makes a refusal of an error that comes from a certificate, ours or theirs.
func refusedTLS(err error) error {
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) {
		return &refusal{"it has no TLS, and Config.ClusterTLS is set"}
	}
	var bad *tls.CertificateVerificationError
	var alert tls.AlertError
	var remote *net.OpError
	if errors.As(err, &bad) || errors.As(err, &alert) || errors.As(err, &remote) && remote.Op == "remote error" {
		return &refusal{"TLS: " + err.Error()}
	}
	return err
}
