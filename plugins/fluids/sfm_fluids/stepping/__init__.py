"""Time stepping of stiff semi-linear equations; rollouts are `sfm.simulate.rollout`'s."""
