// Command rawgnet is a floor: bare gnet that sends back the bytes it gets.
package main

import (
	"flag"
	"fmt"
	"log"

	"github.com/panjf2000/gnet/v2"
)

type echo struct{ gnet.BuiltinEventEngine }

func (echo) OnTraffic(c gnet.Conn) gnet.Action {
	b, _ := c.Next(-1)
	_, _ = c.Write(b)
	return gnet.None
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8091", "address")
	flag.String("mode", "echo", "unused")
	flag.Parse()
	fmt.Println("echo on", *listen) // from Run on; until then it is refused
	log.Fatal(gnet.Run(&echo{}, "tcp://"+*listen))
}
