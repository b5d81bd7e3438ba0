// Command etcd is the etcd server at the version go.mod pins: releases are not downloaded, they are built.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
