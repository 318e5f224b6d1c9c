package engine_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"

	"github.com/sockmill/sockmill/engine"
)

// A server with a certificate for development, and a client that trusts it.
func ExampleSelfSigned() {
	cert, err := engine.SelfSigned() // for localhost, 127.0.0.1 and ::1
	if err != nil {
		log.Fatal(err)
	}
	e, err := engine.New(engine.Config{
		Addr: "wss://127.0.0.1:0",
		TLS:  &tls.Config{Certificates: []tls.Certificate{cert}},
	}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.Send(m) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(e)()

	trusted := x509.NewCertPool()
	trusted.AddCert(cert.Leaf)
	answers := make(chan string)
	err = e.Dial(context.Background(), engine.Dial{
		URL: "wss://" + e.Addr().String(),
		TLS: &tls.Config{RootCAs: trusted},
		Handler: &engine.Handler{
			OnOpen:    func(c *engine.Conn) { _ = c.SendText("hello") },
			OnMessage: func(c *engine.Conn, m engine.Message) { answers <- m.Text() },
		},
		OnFailure: func(e *engine.DialError) { answers <- e.Error() },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-answers)
	// Output: hello
}
