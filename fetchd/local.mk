# intinode-fetchd
