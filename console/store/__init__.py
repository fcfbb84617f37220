"""What the workspace's database holds, table by table."""
